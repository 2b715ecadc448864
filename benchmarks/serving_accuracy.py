"""Serving predictions beside published closed-loop runs: by engine, by model, and by what was fitted or judged.

python -m benchmarks.serving_accuracy POINTS.csv [--rows]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from costsim.evidence.points import read_points
from costsim.evidence.validate import Row, validate

#: the model whose runs the constants of hwprofiles/engines.toml were fitted on
FITTED = "qwen3-32b"
METRICS = ("tpot_s", "ttft_s")


def share(rows: Sequence[Row]) -> str:
    """Runs only told apart by source: fitted or judged."""
    return "fitted on" if rows[0].point.model == FITTED else "judged"


def errors(rows: Sequence[Row], metric: str) -> list[str]:
    """n, MAPE, median, bias and share inside the band of one metric."""
    found = [row for row in rows if row.point.metric == metric and row.ape is not None]
    if not found:
        return ["-"] * 4
    apes = np.array([row.ape for row in found], dtype=float)
    bias = np.mean([row.ratio or np.nan for row in found]) - 1.0
    inside = np.mean([bool(row.inside) for row in found])
    return [f"{np.mean(apes):.1%}", f"{np.median(apes):.1%}", f"{bias:+.1%}", f"{inside:.0%}"]


def table(rows: Sequence[Row], title: str, key: Callable[[Row], tuple[str, ...]], names: Sequence[str]) -> Table:
    """Errors by group."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    out = Table(title=title)
    for name in (*names, "runs"):
        out.add_column(name)
    for metric in METRICS:
        for name in ("MAPE", "median", "bias", "in band"):
            out.add_column(f"{metric.removesuffix('_s').upper()} {name}", justify="right")
    for group in sorted(groups):
        found = groups[group]
        count = str(sum(row.point.metric == METRICS[0] for row in found))
        out.add_row(*group, count, *(cell for metric in METRICS for cell in errors(found, metric)))
    return out


def judged_band(rows: Sequence[Row], metric: str) -> tuple[float, float]:
    """P10 and P90 of measured over predicted over the runs that nothing was fitted on, each model counting alike."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        if row.point.metric == metric and row.point.model != FITTED and row.ratio:
            groups.setdefault(row.point.model, []).append(1.0 / row.ratio)
    if not groups:
        return float("nan"), float("nan")
    alike = np.concatenate([np.quantile(values, np.linspace(0.01, 0.99, 99)) for values in groups.values()])
    low, high = np.quantile(alike, [0.1, 0.9])
    return float(low), float(high)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("points", type=Path)
    parser.add_argument("--rows", action="store_true", help="one line for each row as well")
    given = parser.parse_args(arguments)
    began = time.process_time()
    rows = [row for row in validate(read_points(given.points)) if row.point.kind == "serving"]
    seconds = time.process_time() - began
    console = Console(width=160)
    good = [row for row in rows if row.error is None]
    console.print(table(good, "by model", lambda row: (share([row]), row.point.model, row.point.accelerator),
                        ("split", "model", "accelerator")))  # fmt: skip
    console.print(table(good, "by engine", lambda row: (row.point.plan.get("framework", "-"), row.point.model,
                        row.point.plan.get("framework_version", "-")), ("engine", "model", "version")))  # fmt: skip
    console.print(table(good, "fitted and judged", lambda row: (share([row]),), ("split",)))
    if given.rows:
        for row in rows:
            said = row.error or f"{row.predicted:.4g} for {row.point.value:.4g} s, {row.ratio or 0:.2f}"
            console.print(f"{row.point.id}: {said}")
    for metric in METRICS:
        low, high = judged_band(good, metric)
        console.print(
            f"{metric}: P10 and P90 of measured over predicted, one vote a judged model: {low:.2f}, {high:.2f}"
        )
    console.print(f"{len(rows)} rows, {len(rows) - len(good)} refused, {seconds:.0f} CPU seconds")


if __name__ == "__main__":
    main()
