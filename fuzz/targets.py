"""Every reader of user data: what a valid file looks like, who reads it, and a question that is then asked with it."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fuzz import seeds

Read = Callable[[Path], Any]


@dataclass(frozen=True)
class Target:
    """``read`` takes the path of a file called ``file``; ``verb`` is a command line that uses it, ``{}`` its path."""

    form: str
    file: str
    seeds: Callable[[], Sequence[bytes]]
    read: Read
    verb: tuple[str, ...] = ()


def _from(module: str, name: str, *after: Any, wrap: Callable[[Path], Any] = lambda path: path) -> Read:
    """A reader that is imported when it is first used."""

    @lru_cache(maxsize=1)
    def function() -> Callable[..., Any]:
        import importlib

        return getattr(importlib.import_module(module), name)

    return lambda path: function()(wrap(path), *after)


def _asked(flag: str, *more: str) -> tuple[str, ...]:
    return ("infer", flag, "{}", "--gpus", "8", "--context", "1024", "--batch-per-gpu", "4", *more)


def _megatron(path: Path) -> Any:
    from costsim.spec.base import read_text
    from costsim.spec.catalog import load_model
    from costsim.spec.megatron import read_megatron

    return read_megatron(read_text(path, "job"), load_model("deepseek-v2-lite"), path.name)


def _report(path: Path) -> Any:
    from costsim.explore.inputs import answer, read_question

    question = read_question(str(path))
    return answer(question.kind, question.values)


def _state(path: Path) -> Any:
    """A link's query, as the dashboard reads it, on every page."""
    import json

    from costsim.errors import BadInput
    from dashboards import state
    from dashboards.pages import all_pages

    try:
        query = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise BadInput("no query") from None
    given = {str(key): str(value) for key, value in query.items()} if isinstance(query, dict) else {"m": str(query)}
    return [state.checked(page, given, by_short=True) for page in all_pages().values()]


def _upload(path: Path) -> Any:
    """A question that a reader of the dashboard uploads."""
    from costsim.errors import BadInput
    from dashboards import state, uploads
    from dashboards.pages import all_pages

    data = uploads.table_of(path.read_bytes())
    values = data.get("values", {})
    if not isinstance(values, dict):
        raise BadInput("values: a table is needed")
    return [state.checked(page, values, by_short=False) for page in all_pages().values()]


def _chip(path: Path) -> Any:
    from costsim.spec.accelerator import Accelerator
    from costsim.spec.base import build
    from dashboards import uploads

    return build(Accelerator, uploads.table_of(path.read_bytes()), "your chip")


def _checkpoint(path: Path) -> Any:
    from contextlib import ExitStack

    from costsim.errors import BadInput
    from model.checkpoint import CheckpointError, _open

    with ExitStack() as stack:
        try:
            return _open(path.parent, stack)
        except CheckpointError as error:
            raise BadInput(str(error)) from None


def _packed(one: Callable[[], Sequence[bytes]]) -> Callable[[], Sequence[bytes]]:
    return lambda: [gzip.compress(data, mtime=0) for data in one()]


def _files(*names: str, folder: str = "hwprofiles") -> Callable[[], Sequence[bytes]]:
    return lambda: [seeds.file(*f"{folder}/{name}".split("/")) for name in names]


def _kernels() -> Sequence[bytes]:
    return [seeds.beginning(80, "hwprofiles", "measurements", f"{name}.csv") for name in ("h800-sxm", "ascend-910c")]


def _points() -> Sequence[bytes]:
    return [seeds.beginning(5, "hwprofiles", "points", f"{name}.csv") for name in ("serving_phases", "training")]


def _traces() -> Sequence[bytes]:
    return [seeds.trace(), seeds.bare_trace()]


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
        _files("accelerators/h800-sxm.toml", "accelerators/ascend-910c.toml"),
        _from(_CATALOG, "load_accelerator", wrap=str),
        _asked("--accelerator", "--model", "qwen2.5-7b", "--ep", "1", "--precision", "bf16"),
    ),
    "cluster": Target(
        "toml",
        "cluster.toml",
        _files("clusters/h800-8x400g-ib.toml"),
        _from(_CATALOG, "load_cluster", wrap=str),
        _asked("--cluster", "--model", "deepseek-v2-lite"),
    ),
    "network": Target(
        "toml",
        "wires.toml",
        _files("clusters/h800-8x400g-ib.toml", "clusters/cloudmatrix384.toml"),
        _from(_CATALOG, "load_cluster", wrap=str),
        ("network", "show", "{}"),
    ),
    "topology": Target(
        "toml",
        "topology.toml",
        _files(
            "topologies/mpft-64x8.toml",
            "topologies/dragonfly-9.toml",
            "topologies/hgx-h800.toml",
            "topologies/slim-fly-28.toml",
        ),
        _from(_CATALOG, "load_topology", wrap=str),
        ("network", "show", "{}"),
    ),
    "model": Target(
        "toml",
        "own.toml",
        _files("deepseek-v2-lite.toml", "qwen2.5-7b.toml", folder="model/specs"),
        _from(_CATALOG, "load_model", wrap=str),
        _asked("--model", "--accelerator", "h800-sxm"),
    ),
    "what-if": Target(
        "toml",
        "if.toml",
        _files("what_if/deepseek-v3-gqa.toml"),
        _from(_CATALOG, "load_model", wrap=str),
        ("models", "show", "{}"),
    ),
    "config": Target(
        "json",
        "config.json",
        lambda: [seeds.config(kind) for kind in _CONFIGS],
        _from(_CATALOG, "load_model", wrap=str),
        _asked("--model", "--accelerator", "h800-sxm"),
    ),
    "scenario": Target(
        "toml",
        "scenario.toml",
        lambda: [seeds.scenario()],
        _from("costsim.spec.scenario", "load_scenario", wrap=str),
        ("report", "{}", "--folder", "-"),
    ),
    "fleet": Target(
        "toml",
        "day.toml",
        _files("fleets/deepseek-2025-02-27.toml"),
        _from("costsim.spec.fleet", "load_fleet", wrap=str),
        ("fleet", "--day", "{}"),
    ),
    "recipe": Target(
        "toml",
        "recipe.toml",
        _files("recipes/tiny-zero-3b.toml", "recipes/r1.toml"),
        _from("costsim.spec.recipe", "load_recipe", wrap=str),
        ("posttrain", "--recipe", "{}"),
    ),
    "run": Target(
        "toml",
        "run.toml",
        _files("runs/deepseek-v3.toml"),
        _from("costsim.spec.run", "load_run", wrap=str),
        ("train", "--run", "{}"),
    ),
    "megatron": Target(
        "text",
        "job.sh",
        lambda: [seeds.MEGATRON],
        _megatron,
        ("train", "--model", "deepseek-v2-lite", "--megatron", "{}"),
    ),
    "price": Target("toml", "prices.toml", _files("prices.toml"), _from("fuzz.parts", "prices")),
    "points": Target(
        "csv", "points.csv", _points, _from("costsim.evidence.points", "read_points"), ("validate", "--points", "{}")
    ),
    "measurements": Target(
        "csv", "kernels.csv", _kernels, _from(*_MEASURED), ("calibrate", "h800-sxm", "--measurements", "{}")
    ),
    "draft": Target("csv", "device.csv", _kernels, _from("fuzz.parts", "draft")),
    "facts": Target(
        "json",
        "machine.json",
        lambda: [seeds.dumps({"name": "My chip", "cores": 8, "memory_bytes": 1e9})],
        _from("fuzz.parts", "facts"),
    ),
    "calibration": Target(
        "json",
        "laws.json",
        _files("calibration/ascend-910c.json", "calibration/h800-sxm.json"),
        _from("costsim.calibration.store", "parse_calibration"),
        (),
    ),
    "own laws": Target("json", "h800-sxm.json", _files("calibration/h800-sxm.json"), _from("fuzz.parts", "own_laws")),
    "transfer": Target("json", "transfer.json", _files("transfer.json"), _from("fuzz.parts", "bands")),
    "loads npy": Target(
        "npy", "loads.npy", lambda: [seeds.npy((26, 64)), seeds.npy((4, 30, 6), 64)], _from(*_LOADS), _PLACE
    ),
    "loads csv": Target("csv", "loads.csv", lambda: [seeds.loads_csv()], _from(*_LOADS), _PLACE),
    "loads json": Target(
        "json",
        "loads.json",
        lambda: [seeds.dumps([[5, 6, 7, 8] * 16] * 3), seeds.dumps({"topk": [[[0, 1], [1, 3]]] * 2})],
        _from(*_LOADS),
        _PLACE,
    ),
    "coactivation": Target("npy", "choices.npy", lambda: [seeds.npy((4, 30, 6), 64)], _from(*_LOADS, 64)),
    "present": Target("json", "present.json", lambda: [seeds.PLACEMENT], _from("fuzz.parts", "present")),
    "matrix csv": Target(
        "csv",
        "matrix.csv",
        lambda: [b"0,1e6,2\n3,0,4\n5,6,0\n"],
        _from("costsim.cli.network_traffic", "read_matrix", 3),
    ),
    "matrix npy": Target(
        "npy", "matrix.npy", lambda: [seeds.npy((3, 3))], _from("costsim.cli.network_traffic", "read_matrix", 3)
    ),
    "trace": Target("json", "worker.json", _traces, _from("fuzz.parts", "trace"), ("trace", "{}")),
    "trace gz": Target("json.gz", "worker.json.gz", _packed(_traces), _from("fuzz.parts", "trace"), ("trace", "{}")),
    "trace rows": Target("json", "rows.json", _traces, _from("costsim.trace.measurements", "trace_rows")),
    "requests csv": Target(
        "csv",
        "load.csv",
        lambda: [seeds.REQUESTS["own"], seeds.REQUESTS["azure"]],
        _from("costsim.serving.traces", "read_trace"),
        _SIMULATE,
    ),
    "requests jsonl": Target(
        "jsonl",
        "load.jsonl",
        lambda: [seeds.REQUESTS["mooncake"]],
        _from("costsim.serving.traces", "read_trace"),
        _SIMULATE,
    ),
    "requests gz": Target(
        "csv.gz",
        "load.csv.gz",
        _packed(lambda: [seeds.REQUESTS["own"]]),
        _from("costsim.serving.traces", "read_trace"),
        _SIMULATE,
    ),
    "clients": Target("json.gz", "clients.json.gz", _packed(lambda: [seeds.clients()]), _from("fuzz.parts", "clients")),
    "nccl text": Target(
        "text",
        "nccl.txt",
        _files("nccl_all_reduce.txt", folder="tests/fixtures"),
        _from("costsim.calibration.sources.nccl_tests", "read"),
    ),
    "nccl json": Target(
        "json",
        "nccl.json",
        _files("nccl_alltoall.json", folder="tests/fixtures"),
        _from("costsim.calibration.sources.nccl_tests", "read"),
    ),
    "deepep": Target(
        "text",
        "deepep.log",
        _files("deepep_internode.log", "deepep_low_latency.log", "deepep_elastic.log", folder="tests/fixtures"),
        _from("fuzz.parts", "deepep"),
    ),
    "bench": Target(
        "json",
        "bench.json",
        _files("vllm_bench.json", folder="tests/fixtures"),
        _from("costsim.calibration.sources.vllm_bench", "read_runs"),
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
        _from("costsim.calibration.sources.vllm_bench", "read_runs"),
    ),
    "report": Target("json", "report.json", seeds.reports, _report, ("diff", "{}", "{}")),
    "explained": Target(
        "json",
        "explained.json",
        seeds.reports,
        _from("costsim.explore.inputs", "read_question", wrap=str),
        ("explain", "total_bytes", "--report", "{}"),
    ),
    "resumed": Target(
        "jsonl",
        "chunk.jsonl",
        lambda: [b'{"key": "a", "row": {"x": 1}}\n{"key": "b", "row": {}}\n'],
        _from("fuzz.parts", "resumed"),
    ),
    "state": Target("json", "state.json", lambda: [seeds.STATE], _state),
    "upload": Target("toml", "question.toml", lambda: [seeds.QUESTION], _upload),
    "own chip": Target("toml", "own-chip.toml", _files("accelerators/h800-sxm.toml"), _chip),
    "safetensors": Target("safetensors", "model.safetensors", lambda: [seeds.safetensors()], _checkpoint),
    "index": Target("json", "model.safetensors.index.json", lambda: [seeds.index()], _checkpoint),
    "model config": Target(
        "json", "config.json", lambda: [seeds.config("deepseek_v3")], _from("fuzz.parts", "model_config")
    ),
}
#: these need torch or streamlit
HEAVY = ("safetensors", "index", "model config", "state", "upload", "own chip")
