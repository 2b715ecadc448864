"""Every reader of user data: what a valid file looks like, who reads it, and a question that is then asked with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fuzz import readers, seeds
from fuzz.readers import Read, imported
from fuzz.seeds import packed, shipped


@dataclass(frozen=True)
class Target:
    """``read`` takes the path of a file called ``file``; ``verb`` is a command line that uses it, ``{}`` its path."""

    form: str
    file: str
    seeds: Callable[[], Sequence[bytes]]
    read: Read
    verb: tuple[str, ...] = ()


def _asked(flag: str, *more: str) -> tuple[str, ...]:
    return ("infer", flag, "{}", "--gpus", "8", "--context", "1024", "--batch-per-gpu", "4", *more)


_CONFIGS = ("deepseek_v3", "qwen2", "qwen3_moe", "llama", "mixtral")
_LOADS = "costsim.placement.load", "read_loads"
_PLACE = ("place", "--model", "deepseek-v2-lite", "--gpus", "8", "--slots", "72", "--quick", "--loads", "{}")
_CATALOG = "costsim.spec.catalog"
_MEASURED = "costsim.calibration.measurement", "read_measurements"
_SIMULATE = ("simulate", "--trace", "{}", "--model", "qwen2.5-7b", "--accelerator", "h800-sxm", "--gpus", "1",
             "--tp", "1", "--requests", "200", "--no-bands")  # fmt: skip

TARGETS: dict[str, Target] = {
    "accelerator": Target(
        "toml",
        "chip.toml",
        shipped("accelerators/h800-sxm.toml", "accelerators/ascend-910c.toml"),
        imported(_CATALOG, "load_accelerator", wrap=str),
        _asked("--accelerator", "--model", "qwen2.5-7b", "--ep", "1", "--precision", "bf16"),
    ),
    "cluster": Target(
        "toml",
        "cluster.toml",
        shipped("clusters/h800-8x400g-ib.toml"),
        imported(_CATALOG, "load_cluster", wrap=str),
        _asked("--cluster", "--model", "deepseek-v2-lite"),
    ),
    "network": Target(
        "toml",
        "wires.toml",
        shipped("clusters/h800-8x400g-ib.toml", "clusters/cloudmatrix384.toml"),
        imported(_CATALOG, "load_cluster", wrap=str),
        ("network", "show", "{}"),
    ),
    "topology": Target(
        "toml",
        "topology.toml",
        shipped(
            "topologies/mpft-64x8.toml",
            "topologies/dragonfly-9.toml",
            "topologies/hgx-h800.toml",
            "topologies/slim-fly-28.toml",
        ),
        imported(_CATALOG, "load_topology", wrap=str),
        ("network", "show", "{}"),
    ),
    "model": Target(
        "toml",
        "own.toml",
        shipped("deepseek-v2-lite.toml", "qwen2.5-7b.toml", folder="model/specs"),
        imported(_CATALOG, "load_model", wrap=str),
        _asked("--model", "--accelerator", "h800-sxm"),
    ),
    "what-if": Target(
        "toml",
        "if.toml",
        shipped("what_if/deepseek-v3-gqa.toml"),
        imported(_CATALOG, "load_model", wrap=str),
        ("models", "show", "{}"),
    ),
    "config": Target(
        "json",
        "config.json",
        lambda: [seeds.config(kind) for kind in _CONFIGS],
        imported(_CATALOG, "load_model", wrap=str),
        _asked("--model", "--accelerator", "h800-sxm"),
    ),
    "scenario": Target(
        "toml",
        "scenario.toml",
        lambda: [seeds.scenario()],
        imported("costsim.spec.scenario", "load_scenario", wrap=str),
        ("report", "{}", "--folder", "-"),
    ),
    "fleet": Target(
        "toml",
        "day.toml",
        shipped("fleets/deepseek-2025-02-27.toml"),
        imported("costsim.spec.fleet", "load_fleet", wrap=str),
        ("fleet", "--day", "{}"),
    ),
    "recipe": Target(
        "toml",
        "recipe.toml",
        shipped("recipes/tiny-zero-3b.toml", "recipes/r1.toml"),
        imported("costsim.spec.recipe", "load_recipe", wrap=str),
        ("posttrain", "--recipe", "{}"),
    ),
    "run": Target(
        "toml",
        "run.toml",
        shipped("runs/deepseek-v3.toml"),
        imported("costsim.spec.run", "load_run", wrap=str),
        ("train", "--run", "{}"),
    ),
    "megatron": Target(
        "text",
        "job.sh",
        lambda: [seeds.MEGATRON],
        readers.megatron,
        ("train", "--model", "deepseek-v2-lite", "--megatron", "{}"),
    ),
    "price": Target("toml", "prices.toml", shipped("prices.toml"), readers.prices),
    "points": Target(
        "csv",
        "points.csv",
        seeds.points,
        imported("costsim.evidence.points", "read_points"),
        ("validate", "--points", "{}"),
    ),
    "measurements": Target(
        "csv", "kernels.csv", seeds.kernels, imported(*_MEASURED), ("calibrate", "h800-sxm", "--measurements", "{}")
    ),
    "draft": Target("csv", "device.csv", seeds.kernels, readers.draft),
    "facts": Target(
        "json",
        "machine.json",
        lambda: [seeds.dumps({"name": "My chip", "cores": 8, "memory_bytes": 1e9})],
        readers.facts,
    ),
    "calibration": Target(
        "json",
        "laws.json",
        shipped("calibration/ascend-910c.json", "calibration/h800-sxm.json"),
        imported("costsim.calibration.store", "parse_calibration"),
        (),
    ),
    "own laws": Target("json", "h800-sxm.json", shipped("calibration/h800-sxm.json"), readers.own_laws),
    "transfer": Target("json", "transfer.json", shipped("transfer.json"), readers.bands),
    "loads npy": Target(
        "npy", "loads.npy", lambda: [seeds.npy((26, 64)), seeds.npy((4, 30, 6), 64)], imported(*_LOADS), _PLACE
    ),
    "loads csv": Target("csv", "loads.csv", lambda: [seeds.loads_csv()], imported(*_LOADS), _PLACE),
    "loads json": Target(
        "json",
        "loads.json",
        lambda: [seeds.dumps([[5, 6, 7, 8] * 16] * 3), seeds.dumps({"topk": [[[0, 1], [1, 3]]] * 2})],
        imported(*_LOADS),
        _PLACE,
    ),
    "coactivation": Target("npy", "choices.npy", lambda: [seeds.npy((4, 30, 6), 64)], imported(*_LOADS, 64)),
    "present": Target("json", "present.json", lambda: [seeds.PLACEMENT], readers.present),
    "matrix csv": Target(
        "csv",
        "matrix.csv",
        lambda: [b"0,1e6,2\n3,0,4\n5,6,0\n"],
        imported("costsim.cli.network_traffic", "read_matrix", 3),
    ),
    "matrix npy": Target(
        "npy", "matrix.npy", lambda: [seeds.npy((3, 3))], imported("costsim.cli.network_traffic", "read_matrix", 3)
    ),
    "trace": Target("json", "worker.json", seeds.traces, readers.trace, ("trace", "{}")),
    "trace gz": Target("json.gz", "worker.json.gz", packed(seeds.traces), readers.trace, ("trace", "{}")),
    "trace rows": Target("json", "rows.json", seeds.traces, imported("costsim.trace.measurements", "trace_rows")),
    "requests csv": Target(
        "csv",
        "load.csv",
        lambda: [seeds.REQUESTS["own"], seeds.REQUESTS["azure"]],
        imported("costsim.serving.traces", "read_trace"),
        _SIMULATE,
    ),
    "requests jsonl": Target(
        "jsonl",
        "load.jsonl",
        lambda: [seeds.REQUESTS["mooncake"]],
        imported("costsim.serving.traces", "read_trace"),
        _SIMULATE,
    ),
    "requests gz": Target(
        "csv.gz",
        "load.csv.gz",
        packed(lambda: [seeds.REQUESTS["own"]]),
        imported("costsim.serving.traces", "read_trace"),
        _SIMULATE,
    ),
    "clients": Target("json.gz", "clients.json.gz", packed(lambda: [seeds.clients()]), readers.clients),
    "nccl text": Target(
        "text",
        "nccl.txt",
        shipped("nccl_all_reduce.txt", folder="tests/fixtures"),
        imported("costsim.calibration.sources.nccl_tests", "read"),
    ),
    "nccl json": Target(
        "json",
        "nccl.json",
        shipped("nccl_alltoall.json", folder="tests/fixtures"),
        imported("costsim.calibration.sources.nccl_tests", "read"),
    ),
    "deepep": Target(
        "text",
        "deepep.log",
        shipped("deepep_internode.log", "deepep_low_latency.log", "deepep_elastic.log", folder="tests/fixtures"),
        readers.deepep,
    ),
    "bench": Target(
        "json",
        "bench.json",
        shipped("vllm_bench.json", folder="tests/fixtures"),
        imported("costsim.calibration.sources.vllm_bench", "read_runs"),
        (
            "simulate",
            "--bench",
            "{}",
            "--model",
            "qwen2.5-7b",
            "--accelerator",
            "h800-sxm",
            "--gpus",
            "1",
            "--tp",
            "1",
            "--no-bands",
        ),
    ),
    "bench lines": Target(
        "jsonl",
        "bench.jsonl",
        lambda: [seeds.lines("vllm_bench.json")],
        imported("costsim.calibration.sources.vllm_bench", "read_runs"),
    ),
    "report": Target("json", "report.json", seeds.reports, readers.report, ("diff", "{}", "{}")),
    "day report": Target("json", "day.json", seeds.days, readers.report, ("diff", "{}", "{}")),
    "page": Target(
        "text", "page.html", lambda: [seeds.page()], imported("costsim.spec.scenario", "load_scenario", wrap=str)
    ),
    "explained": Target(
        "json",
        "explained.json",
        seeds.reports,
        imported("costsim.explore.inputs", "read_question", wrap=str),
        ("explain", "total_bytes", "--report", "{}"),
    ),
    "resumed": Target(
        "jsonl",
        "chunk.jsonl",
        lambda: [b'{"key": "a", "row": {"x": 1}}\n{"key": "b", "row": {}}\n'],
        readers.resumed,
    ),
    "state": Target("json", "state.json", lambda: [seeds.STATE], readers.state),
    "upload": Target("toml", "question.toml", lambda: [seeds.QUESTION], readers.upload),
    "own chip": Target("toml", "own-chip.toml", shipped("accelerators/h800-sxm.toml"), readers.chip),
    "safetensors": Target("safetensors", "model.safetensors", lambda: [seeds.safetensors()], readers.checkpoint),
    "index": Target("json", "model.safetensors.index.json", lambda: [seeds.index()], readers.checkpoint),
    "model config": Target("json", "config.json", lambda: [seeds.config("deepseek_v3")], readers.model_config),
}
#: these need torch or streamlit
HEAVY = ("safetensors", "index", "model config", "state", "upload", "own chip")
