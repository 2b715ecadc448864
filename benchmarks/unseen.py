"""Predictions beside published runs that no part of the library was fitted on and no report shows.

python -m benchmarks.unseen [FILE ...] [--by KEY[,KEY]] [--rows]

Without FILE all of ``benchmarks/points/``: runs gathered from blogs, vendors' tables and issues (``unseen.csv``), a
sample of the public serving runs of kinds that no shipped row has (``silicon.csv``), and Megatron-Bridge's tables of
25.11 and 26.02 (``megatron_bridge.csv``). Each row's question was written before its prediction was looked at.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from costsim.evidence.points import read_points
from costsim.evidence.validate import Row, statistics, validate

FOLDER = Path(__file__).resolve().parent / "points"
KEYS = ("kind", "model", "accelerator", "metric", "precision")


def _percent(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.1%}"


def table(rows: Sequence[Row], keys: Sequence[str], title: str) -> Table:
    """n, how many were answered, mean and median error, bias and share inside the band, by ``keys``."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(str(getattr(row.point, key)) for key in keys), []).append(row)
    out = Table(title=title)
    for key in keys:
        out.add_column(key)
    for name in ("n", "answered", "MAPE", "median", "P90", "bias", "in band"):
        out.add_column(name, justify="right")
    for group in sorted(groups):
        found = statistics(groups[group])
        out.add_row(
            *group, str(found["n"]), str(found["predicted"]), _percent(found["mape"]), _percent(found["median_ape"]),
            _percent(found["p90_ape"]), _percent(found["bias"], "+"), _percent(found["inside_band"]),
        )  # fmt: skip
    return out


def lines(rows: Sequence[Row]) -> Table:
    """One line a row."""
    out = Table()
    for name in ("id", "metric", "measured", "predicted", "error", "band", "grade"):
        out.add_column(name)
    for row in rows:
        p = row.point
        if row.predicted is None or row.ratio is None:
            out.add_row(p.id, p.metric, f"{p.value:.4g}", "-", row.error or "-", "", "")
            continue
        band = "-" if row.low is None or row.high is None else f"{row.low:.4g} … {row.high:.4g}"
        mark = "" if row.inside is not False else " out"
        out.add_row(p.id, p.metric, f"{p.value:.4g}", f"{row.predicted:.4g}", f"{row.ratio - 1.0:+.1%}{mark}", band,
                    row.grade or "")  # fmt: skip
    return out


def spread(rows: Sequence[Row], metric: str) -> tuple[float, float, int]:
    """(P10, P90, n) of measured over predicted, each model and accelerator counting alike."""
    groups: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.point.kind == "serving" and row.point.metric == metric and row.ratio:
            groups.setdefault((row.point.model, row.point.accelerator), []).append(1.0 / row.ratio)
    if not groups:
        return float("nan"), float("nan"), 0
    alike = np.concatenate([np.quantile(values, np.linspace(0.01, 0.99, 99)) for values in groups.values()])
    low, high = np.quantile(alike, [0.1, 0.9])
    return float(low), float(high), sum(map(len, groups.values()))


def halves(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Serving runs in two halves by the parity of their ids, both metrics of a run on one side."""
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        sides[sum(map(ord, row.point.id.rsplit("-", 1)[0])) % 2].append(row)
    return sides


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", nargs="*", type=Path)
    parser.add_argument("--by", default="kind,metric", help=f"groups: {', '.join(KEYS)}; default kind,metric")
    parser.add_argument("--rows", action="store_true", help="one line for each row as well")
    parser.add_argument("--spread", action="store_true", help="P10 and P90 of measured over predicted, in two halves")
    given = parser.parse_args(arguments)
    keys = [key for key in given.by.split(",") if key in KEYS]
    if not keys:
        parser.error(f"--by {given.by}: name some of {', '.join(KEYS)}")
    console = Console(width=max(Console().width, 150))
    for file in given.points or sorted(FOLDER.glob("*.csv")):
        rows = validate(read_points(file))
        if given.rows:
            console.print(lines(rows))
        console.print(table(rows, keys, file.name))
        if given.spread:
            for metric in ("tpot_s", "ttft_s", "output_tokens_per_s_per_gpu"):
                parts = [*halves(rows), rows]
                told = ("even", "odd", "all")
                text = [f"{name} {lo:.2f}-{hi:.2f} ({n})" for name, (lo, hi, n) in
                        zip(told, (spread(part, metric) for part in parts), strict=True) if n]  # fmt: skip
                console.print(metric, "; ".join(text) or "no rows")


if __name__ == "__main__":
    main()
