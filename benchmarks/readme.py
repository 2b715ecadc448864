"""Write the README's two real outputs anew: the accuracy table and the first command's answer.

    python -m benchmarks.readme

`tests/test_readme.py` fails while the table in the README is not the one `accuracy_table` gives.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from costsim.evidence.points import read_points
from costsim.evidence.validate import Row, validate
from costsim.spec.catalog import POINTS

README = Path(__file__).resolve().parent.parent / "README.md"
FIRST_COMMAND = ("infer", "--phase", "decode", "--gpus", "128", "--batch-per-gpu", "128", "--context", "4096")
LINES = 18  # of the first command's answer; the rest is cut with an ellipsis

# What the reader sees for a row of hwprofiles/points; a row without a label is in the full list only.
LABELS = {
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
    "tt-h100x16-isl128-tpot_s": "ms per token, H100 TP16, one request, 128 in",
    "tt-h100x16-isl1024-tpot_s": "ms per token, H100 TP16, one request, 1k in",
    "trt-h200-maxtput-output_tokens_per_s_per_gpu": "serving, H200 attention-DP8 EP8, 1k/2k (TensorRT-LLM)",
}


def accuracy_table() -> str:
    """The predictions of the shipped points as Markdown, with the mean absolute errors."""
    rows = [row for path in sorted(POINTS.glob("*.csv")) for row in validate(read_points(path))]
    rows = [row for row in rows if row.ape is not None and row.point.kind != "fleet"]
    phases = [row for row in rows if row.point.kind in ("prefill", "decode")]
    return "\n".join(
        [
            "| measured | token/s per card | predicted (P10–P90) | error | grade |",
            "|---|--:|--:|--:|:-:|",
            *(_line(row) for row in rows if row.point.id in LABELS),
            "",
            f"Mean absolute error {_mape(rows):.1f}% over all {len(rows)} rows, {_mape(phases):.1f}% over the",
            f"{len(phases)} rows of single phases. InferSim, the nearest open-source peer, is +15% on both rows of",
            "DeepSeek's profile in its own examples.",
        ]
    )


def _mape(rows: list[Row]) -> float:
    return 100.0 * sum(row.ape or 0.0 for row in rows) / len(rows)


def _line(row: Row) -> str:
    per_token = row.point.metric == "tpot_s"

    def show(value: float | None) -> str:
        if value is None:
            return "?"
        return f"{1e3 * value:.1f} ms" if per_token else f"{value:,.0f}"

    error = 100.0 * ((row.ratio or 0.0) - 1.0)
    band = f"{show(row.predicted)} ({show(row.low)}–{show(row.high)})"
    return f"| {LABELS[row.point.id]} | {show(row.point.value)} | {band} | {error:+.0f}% | {row.grade} |"


def main() -> None:
    """Replace both outputs in README.md."""
    command = [str(Path(sys.executable).with_name("costsim")), *FIRST_COMMAND]
    environment = {"COLUMNS": "80", "NO_COLOR": "1", "PATH": "/usr/bin:/bin"}
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    shown = "\n".join([*(line.rstrip() for line in answer.splitlines()[:LINES]), "…"])
    text = README.read_text(encoding="utf-8")
    table = f"<!-- accuracy -->\n{accuracy_table()}\n<!-- /accuracy -->"
    text = re.sub(r"<!-- accuracy -->.*?<!-- /accuracy -->", lambda _: table, text, flags=re.S)
    first = re.compile(r"(\$ costsim infer [^\n]*\n).*?\n```", re.S)
    text = first.sub(lambda found: f"{found[1]}{shown}\n```", text, count=1)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
