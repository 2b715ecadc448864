"""Predicted against measured collectives: NCCL points, DeepEP's tables, small messages, and the published cost table.

``python -m benchmarks.networks [FOLDER]``: FOLDER holds ``network/*.csv`` and ``kernels/kernels_deepep.csv``, the
measured tables; without them only the cost table is printed.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from costsim.calibration.store import device_for
from costsim.network.build import counts, usd
from costsim.network.collectives import time_collective
from costsim.network.deepep import FREE, GROUP_LIMITED, exchange
from costsim.report.document import Cell, Content, Document, Section, Table
from costsim.report.tables import render_document
from costsim.report.words import number, percent
from costsim.spec.catalog import ROOT, load_accelerator, load_link, load_topology

#: measured tables beside the checkout, where somebody keeps them
TRUTH = ROOT.parent / "shared" / "truth"
#: bars: median of NCCL's points, median and worst of DeepEP's tables on H800
NCCL_BAR, DEEPEP_BAR, DEEPEP_WORST = 0.10, 0.12, 0.30
#: large messages: where the published bus bandwidths are read
#: H100 PCIe with all its NVLink bridges, bytes/s per direction (600 GB/s both ways in the data sheet)
BRIDGES = 300e9
LARGE = 2.0**33


@dataclass(frozen=True)
class Point:
    """One measured number and what is predicted for it.

    ``judged``: counts toward the bar; ``fitted``: a law was fitted on this very number.
    """

    group: str
    name: str
    predicted: float
    measured: float
    unit: str
    grade: str = ""
    judged: bool = True
    fitted: bool = False

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1.0


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def nccl_points(truth: Path = TRUTH) -> Iterator[Point]:
    """Bus bandwidth of large messages, in nccl-tests' definition, and latency of small ones."""
    chips = {"A100-SXM4-80G": "a100-80g-sxm", "H100-SXM": "h100-sxm", "H200": "h200-sxm", "H800": "h800-sxm",
             "H20": "h20-96g", "H100 PCIe bridged": "h100-pcie"}  # fmt: skip
    for row in _rows(truth / "network" / "nccl.csv"):
        if row["gpu"] == "any":
            yield _all_to_all_point(float(row["busbw_GBs"]))
            continue
        device, n = device_for(load_accelerator(chips[row["gpu"]])), int(row["n"])
        name = f"{row['gpu']} ×{n} {row['collective']}"
        if not row["busbw_GBs"]:
            low, high = (46e-6, 48e-6) if n == 16 else (10.3e-6, 11e-6)
            timed = time_collective("all_reduce", 1024.0, n, 8, device)
            yield Point("NCCL", name, float(timed.time_s), (low + high) / 2.0, "s", timed.duration.grade, fitted=True)
            continue
        bridged = "bridged" in row["gpu"]
        if bridged:  # three bridges of four links; the catalog's card stands alone on PCIe
            device = replace(device, up=BRIDGES)
        if "8x100G" in row["note"] or "100G" in row["collective"]:
            device = replace(device, out=12.5e9)
        kind, factor = ("all_gather", (n - 1) / n) if "non-allreduce" in row["collective"] else (
            "all_reduce", 2 * (n - 1) / n)  # fmt: skip
        timed = time_collective(kind, LARGE, n, 8, device)
        bus = LARGE * factor / float(timed.time_s) / 1e9
        known = row["gpu"] == "H800" and n == 8
        # The bridged pair is a fault report (a third of its links' rate, and nobody says why): shown, not judged.
        yield Point("NCCL", name, bus, float(row["busbw_GBs"]), "GB/s", timed.duration.grade, not bridged, known)


def _all_to_all_point(measured: float) -> Point:
    """Many nodes, one 400 Gb/s NIC a GPU: what leaves a node in all, over the NIC."""
    ranks = 256
    timed = time_collective("all_to_all", LARGE, ranks, 8, device_for(load_accelerator("h100-sxm")))
    rate = LARGE * (ranks - 8) / ranks / float(timed.time_s) / 1e9
    return Point("NCCL", "400 Gb/s NIC all_to_all, many nodes", rate, measured, "GB/s", timed.duration.grade)


def deepep_points(truth: Path = TRUTH) -> Iterator[Point]:
    """Logical bandwidths of normal kernels, seconds of low-latency ones."""
    for row in _rows(truth / "kernels" / "kernels_deepep.csv"):
        chip, release = _system(row)
        if chip is None:
            continue
        device, low = device_for(load_accelerator(chip)), row["mode"] == "low_latency"
        moe = FREE if release == "2026-04" else GROUP_LIMITED
        ranks, tokens = int(row["ep"]), float(row["tokens_per_rank"])
        domain = 768 if "910C" in row["hardware"] else 8
        for way in ("dispatch", "combine"):
            got = exchange(device, way, ranks, tokens, float(row["hidden"]), low, release, domain, moe)
            name = f"{row['mode']} EP{ranks} {way}" + (f" {row['comm_sms']} SM" if row["comm_sms"] else "")
            group = f"{row['version']}, {row['hardware']}"
            judged = "H800" in row["hardware"]
            fitted = release == "2025-04"
            if row[f"{way}_us"]:
                yield Point(group, name, got.time_s, float(row[f"{way}_us"]) * 1e-6, "s", got.grade, judged, fitted)
            else:
                rate = got.logical_bytes_per_s / 1e9
                yield Point(group, name, rate, float(row[f"{way}_GBps"]), "GB/s", got.grade, judged, fitted)


def _system(row: dict[str, str]) -> tuple[str | None, str]:
    """(accelerator, release) of a row. Version 2's "SM90" moves more over NVLink than an H800 can: an H100."""
    hardware, version = row["hardware"], row["version"]
    release = "2025-02" if "2025-02" in version else "2026-04" if version.startswith("V2") else "2025-04"
    if "H800" in hardware:
        return "h800-sxm", release
    if "910C" in hardware:
        return "ascend-910c", "2025-04"
    return ("b200-sxm" if "SM100" in hardware else "h100-sxm"), release


def training_cluster_points(truth: Path = TRUTH) -> Iterator[Point]:
    """DeepEP on the multi-plane cluster; the paper does not say clearly which row is dispatch, so none is judged."""
    device = device_for(load_accelerator("h800-sxm"))
    for row in _rows(truth / "network" / "isca25_deepep_mpft.csv"):
        for way, column in (("dispatch", "row1_GBs"), ("combine", "row2_GBs")):
            got = exchange(device, way, int(row["gpus"]), 4096.0, 7168.0, False)
            yield Point("multi-plane H800", f"normal EP{row['gpus']} {way}?", got.logical_bytes_per_s / 1e9,
                        float(row[column]), "GB/s", got.grade, judged=False)  # fmt: skip


def latency_points(truth: Path = TRUTH) -> Iterator[Point]:
    """64 B messages: one switch on the way, and three."""
    names = {"RoCE": "roce", "InfiniBand": "infiniband", "NVLink": "nvlink"}
    for row in _rows(truth / "network" / "isca25_latency_64B.csv"):
        link = load_link(names[row["link"]])
        for column, switches in (("same_leaf_us", 1), ("cross_leaf_us", 3)):
            if row[column]:
                seconds = link.endpoint + switches * link.hop
                yield Point("64 B", f"{row['link']} {column.removesuffix('_us').replace('_', ' ')}", seconds,
                            float(row[column]) * 1e-6, "s")  # fmt: skip


def cost_points(truth: Path = TRUTH) -> Iterator[Point]:
    """Counts and costs of the published comparison of topologies."""
    ids = {"FT2": "ft2-64", "MPFT": "mpft-64x8", "FT3": "ft3-64", "SF": "slim-fly-28", "DF": "dragonfly-511"}
    rows = {row["metric"]: row for row in _rows(truth / "network" / "isca25_topology.csv")}
    for column, name in ids.items():
        found, cost = counts(load_topology(name)), usd(load_topology(name), load_link) or 0.0
        values = {"endpoints": (found.endpoints, 1.0, ""), "switches": (found.switches, 1.0, ""),
                  "links": (found.links, 1.0, ""), "cost_MUSD": (cost / 1e6, 1.0, "MUSD"),
                  "cost_per_endpoint_kUSD": (cost / found.endpoints / 1e3, 1.0, "kUSD")}  # fmt: skip
        for metric, (value, scale, unit) in values.items():
            yield Point("Topologies", f"{name} {metric.split('_')[0]} {unit}".strip(), float(value),
                        float(rows[metric][column]) * scale, unit)  # fmt: skip


def summary(points: Sequence[Point]) -> tuple[float, float]:
    """(median, worst) of the absolute errors of the points that count."""
    errors = [abs(point.error) for point in points if point.judged]
    return (float(np.median(errors)), float(np.max(errors))) if errors else (float("nan"), float("nan"))


def section(heading: str, points: Sequence[Point], text: str) -> Section:
    rows: list[list[Content]] = [
        [point.name, point.group, Cell(_shown(point.predicted, point.unit), point.predicted),
         Cell(_shown(point.measured, point.unit), point.measured), Cell(f"{point.error:+.1%}", point.error),
         point.grade]
        for point in points
    ]  # fmt: skip
    note = f"{text} {_told(points)}"
    if any(point.fitted for point in points):
        note += f" Without those that a law was fitted on: {_told([p for p in points if not p.fitted])}"
    return Section(heading, [note], [Table(("point", "group", "predicted", "measured", "error", "grade"), rows)])


def _told(points: Sequence[Point]) -> str:
    median, worst = summary(points)
    return f"{sum(p.judged for p in points)} points: median {percent(median)}, worst {percent(worst)}."


def _shown(value: float, unit: str) -> str:
    return f"{value * 1e6:.1f} µs" if unit == "s" else f"{number(value)} {unit}".strip()


def main(arguments: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else list(arguments)
    truth = Path(given[0]) if given else TRUTH
    if not (truth / "network").is_dir():
        raise SystemExit(f"no measured tables in {truth}: give the folder that holds network/ and kernels/")
    deepep = list(deepep_points(truth))
    sections = [
        section("NCCL", list(nccl_points(truth)), f"Bar: median ≤ {NCCL_BAR:.0%}."),
        section("DeepEP", deepep + list(training_cluster_points(truth)),
                f"Bars, on H800: median ≤ {DEEPEP_BAR:.0%}, each ≤ {DEEPEP_WORST:.0%}; other parts are shown."),
        section("Small messages", list(latency_points(truth)), "Two numbers a link, two points: no test of the law."),
        section("Topologies", list(cost_points(truth)), "Counts by formula; prices solved from three of these costs."),
    ]  # fmt: skip
    document = Document("Networks: predicted against measured", sections, {})
    Console(width=max(Console().width, 120)).print(render_document(document))


if __name__ == "__main__":
    main()
