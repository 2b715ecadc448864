"""Write the README's two real outputs anew: the accuracy tables and the first command's answer.

    python -m benchmarks.readme

`tests/test_readme.py` fails while the tables in the README are not the ones `accuracy_tables` gives.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from costsim.evidence.points import read_points
from costsim.evidence.validate import Row, validate
from costsim.report.words import number, quantity
from costsim.spec.catalog import POINTS

README = Path(__file__).resolve().parent.parent / "README.md"
FIRST_COMMAND = ("infer", "--phase", "decode", "--gpus", "128", "--batch-per-gpu", "128", "--context", "4096")
LINES = 18  # of the first command's answer; the rest is cut with an ellipsis

# What the reader sees for a row of hwprofiles/points; a row without a label is in the full list only.
PHASES = {
    "ds-profile-prefill": "prefill, H800 EP32, balanced (DeepSeek profile)",
    "ds-profile-decode": "decode, H800 EP128, batch 128 (DeepSeek profile)",
    "sgl-h100-prefill-2k": "prefill, H100 EP32, 2k prompts (SGLang)",
    "sgl-h100-prefill-4k": "prefill, H100 EP32, 4k prompts (SGLang)",
    "sgl-h100-prefill-4k-perfect": "the same, forced balance",
    "sgl-h100-decode-2k": "decode, H100 EP72, batch 256 (SGLang)",
    "ant-h20-prefill": "prefill, H20 TP8 (Ant Group)",
    "ant-h20-ep16-bs32": "decode, H20 EP16, batch 32, MTP (Ant Group)",
    "ant-h20-ep16-bs8": "decode, H20 EP16, batch 8, MTP (Ant Group)",
    "cm384-prefill-perfect": "prefill, Ascend 910C, INT8 (CloudMatrix384)",
    "cm384-decode-4096-b96": "decode, Ascend 910C EP320, INT8, MTP (CloudMatrix384)",
    "tt-h100x16-isl128-tpot_s": "seconds a token, H100 TP16, one request, 128 in",
    "tt-h100x16-isl1024-tpot_s": "seconds a token, H100 TP16, one request, 1k in",
    "trt-h200-maxtput-output_tokens_per_s_per_gpu": "serving, H200 attention-DP8 EP8, 1k/2k (TensorRT-LLM)",
}
TRAINING = {
    "dsv3-isca-step_s": "V3 on 2,048 H800, DualPipe: step",
    "dsv3-isca-forward_only_s": "… forward only",
    "dsv3-isca-forward_backward_s": "… forward and backward overlapped",
    "dsv3-isca-backward_only_s": "… backward only",
    "dsv3-isca-weight_only_s": "… weight gradients only",
    "dsv3-isca-bubble_s": "… bubble",
    "dsv3-isca-optimizer_s": "… optimiser",
    "dsv3-profile-chunk": "V3, 4 layers forward and backward overlapped (trace)",
    "mb_25.09_DeepSeekV3_(dropless)_DGX-H100_1024__8192-tokens_per_s_per_gpu": "V3 on 1,024 H100, token/s a card",
    "r1_zero-gpu_hours": "R1-Zero, GPU hours",
    "r1-gpu_hours": "R1, GPU hours",
    "nemorl_DeepSeek_V3_H100_BF16_on-policy_256-step_s": "GRPO step of V3, 256 H100 (NeMo RL)",
    "nemorl_Qwen3-30B-A3B_H100_BF16_on-policy_32-step_s": "GRPO step of Qwen3-30B, 32 H100 (NeMo RL)",
    "verl_h20_7b_sync_32-step_s": "DAPO step of Qwen2.5-7B, 32 H20 (verl)",
    "verl_dsv3_96h20-step_s": "GRPO step of V3, 96 H20 (verl)",
}
#: (words, kind, accelerator, metric, model): groups of rows that the text sums up
GROUPS = (
    ("8 B200, BF16, no overlap: step", "training", "b200-sxm", "step_s", None),
    ("8 B200: peak memory", "training", "b200-sxm", "peak_memory_bytes", None),
    ("1,024 H100, Llama-405B", "training", "h100-sxm", "tokens_per_s_per_gpu", "llama-3.1-405b"),
    ("256 H100, Qwen3-235B", "training", "h100-sxm", "tokens_per_s_per_gpu", "qwen3-235b-a22b"),
)


def accuracy_tables() -> str:
    """The predictions of the shipped points as Markdown, with the mean absolute errors."""
    rows = [row for path in sorted(POINTS.glob("*.csv")) for row in validate(read_points(path))]
    known = [row for row in rows if row.ape is not None]
    phases = [row for row in known if row.point.kind in ("prefill", "decode")]
    return "\n".join(
        [
            *_table("serving, token/s per card", [row for row in known if row.point.id in PHASES], PHASES),
            "",
            f"Mean absolute error {_mape(phases):.1f}% over the {len(phases)} rows of single phases. InferSim, the",
            "nearest open-source peer, is +15% on both rows of DeepSeek's profile in its own examples.",
            "",
            *_table("training and post-training", [row for row in known if row.point.id in TRAINING], TRAINING),
            "",
            "| rows of one kind | n | mean absolute error | bias | worst |",
            "|---|--:|--:|--:|--:|",
            *(line for group in GROUPS if (line := _group(known, *group))),
        ]
    )


def _table(heading: str, rows: Sequence[Row], labels: dict[str, str]) -> list[str]:
    order = {name: place for place, name in enumerate(labels)}
    chosen = sorted(rows, key=lambda row: order[row.point.id])
    head = f"| {heading} | measured | predicted (P10–P90) | error | grade |"
    return [head, "|---|--:|--:|--:|:-:|", *(_line(row, labels[row.point.id]) for row in chosen)]


def _group(rows: Sequence[Row], words: str, kind: str, accelerator: str, metric: str, model: str | None) -> str:
    chosen = [
        row for row in rows
        if (row.point.kind, row.point.accelerator, row.point.metric) == (kind, accelerator, metric)
        and model in (None, row.point.model)
    ]  # fmt: skip
    if not chosen:
        return ""
    bias = 100.0 * (sum(row.ratio or 0.0 for row in chosen) / len(chosen) - 1.0)
    worst = 100.0 * max(row.ape or 0.0 for row in chosen)
    return f"| {words} | {len(chosen)} | {_mape(chosen):.1f}% | {bias:+.1f}% | {worst:.0f}% |"


def _mape(rows: Sequence[Row]) -> float:
    return 100.0 * sum(row.ape or 0.0 for row in rows) / len(rows)


def _line(row: Row, label: str) -> str:
    def show(value: float | None) -> str:
        if value is None:
            return "?"
        return quantity(value, "s") if row.point.unit == "s" else number(value)

    error = 100.0 * ((row.ratio or 0.0) - 1.0)
    band = f"{show(row.predicted)} ({show(row.low)}–{show(row.high)})"
    signed = f"{error:+.0f}%" if round(error) else "0%"
    return f"| {label} | {show(row.point.value)} | {band} | {signed} | {row.grade} |"


def main() -> None:
    """Replace both outputs in README.md."""
    command = [str(Path(sys.executable).with_name("costsim")), *FIRST_COMMAND]
    environment = {"COLUMNS": "80", "NO_COLOR": "1", "PATH": "/usr/bin:/bin"}
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    shown = "\n".join([*(line.rstrip() for line in answer.splitlines()[:LINES]), "…"])
    text = README.read_text(encoding="utf-8")
    table = f"<!-- accuracy -->\n{accuracy_tables()}\n<!-- /accuracy -->"
    text = re.sub(r"<!-- accuracy -->.*?<!-- /accuracy -->", lambda _: table, text, flags=re.S)
    first = re.compile(r"(\$ costsim infer [^\n]*\n).*?\n```", re.S)
    text = first.sub(lambda found: f"{found[1]}{shown}\n```", text, count=1)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
