"""`make accuracy`: how wrong the laws are on what they have not seen, beside the bars they must meet.

``--markdown FILE`` also writes the tables, ``--bands`` renews the bands of transferred laws. Needs the extra
``silicon``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.left_out import (
    accelerator_section,
    architecture_section,
    mark,
    share,
    signed,
    transfer_results,
    unseen_section,
)
from costsim.calibration.store import device_for, parse_calibration
from costsim.evidence.points import read_points
from costsim.evidence.validate import Row, statistics, summarise, validate
from costsim.physics.op import Op, batched_gemm, experts, gemm, stream
from costsim.predict.inference import predict_inference
from costsim.report.document import Cell, Content, Document, Section, Table
from costsim.report.plain import markdown
from costsim.report.tables import render_document
from costsim.report.words import number, quantity
from costsim.spec.catalog import CALIBRATION, POINTS, ROOT, load_accelerator, load_model
from costsim.spec.plan import DecodeLoad, ServingPlan
from costsim.timing.device import Device
from costsim.timing.duration import time_op

#: what a group of laws must reach on held-out rows: median of |predicted/measured − 1|
BARS = {
    "GEMM BF16": (0.05, ("gemm/bf16",)),
    "GEMM FP8-block": (0.07, ("gemm/fp8",)),
    "grouped experts": (0.05, ("moe/", "moe_normal/", "moe_masked/")),
    "MLA": (0.04, ("mla_prefill/", "mla_decode/")),
    "GQA": (0.06, ("attention_prefill/", "attention_decode/")),
    "NCCL, custom all-reduce": (0.08, ("all_reduce/", "all_gather/", "reduce_scatter/", "all_to_all/")),
    "DeepEP": (0.12, ("dispatch/", "combine/", "dispatch_ll/", "combine_ll/")),
}
P90_BAR = 0.20
PHASE_MAPE_BAR, INSIDE_BAR = 0.08, 0.80
FILE_BAR_BYTES, LOAD_BAR_S, RATE_BAR = 500_000, 0.050, 5e6
#: measured points beside the checkout, where somebody keeps them
SHARED = ROOT.parent / "shared" / "truth"


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def bar_of(key: str) -> tuple[str, float | None]:
    """The group that a law belongs to and its bar."""
    for name, (bar, starts) in BARS.items():
        if key.startswith(starts):
            return name, bar
    return "other", None


def held_out_section() -> Section:
    """Every stored law: its held-out error beside the bar of its group."""
    rows: list[list[Content]] = []
    groups: dict[str, list[tuple[int, float, float]]] = {}
    for path in sorted(CALIBRATION.glob("*.json")):
        for key, law in json.loads(path.read_text(encoding="utf-8"))["laws"].items():
            name, bar = bar_of(key)
            n, median, p90 = law["n"], law["held_out"]["median_ape"], law["held_out"]["p90_ape"]
            rows.append([key, path.stem, n, share(median), mark(median, bar), share(p90), mark(p90, P90_BAR)])
            groups.setdefault(name, []).append((n, median, p90))
    rows.sort(key=lambda row: (str(row[0]), str(row[1])))
    summary: list[list[Content]] = []
    for name, found in groups.items():
        measured = [entry for entry in found if entry[0] >= 20] or found
        bar = BARS.get(name, (None,))[0]
        medians, p90s = [e[1] for e in measured], [e[2] for e in measured]
        middle = float(np.median(medians))
        met = sum(median <= bar for median in medians) if bar else None
        summary.append([
            name, share(bar), share(middle), mark(middle, bar), share(max(medians)),
            None if met is None else f"{met} of {len(medians)}", share(float(np.median(p90s))),
            f"{sum(p90 <= P90_BAR for p90 in p90s)} of {len(p90s)}",
        ])  # fmt: skip
    text = (
        "Five folds, whole shape classes left out together. Summary over the tables with 20 points or more: "
        "the median of their medians, the worst, and how many meet the bar."
    )
    head = ("group", "bar", "median", "", "worst", "median met", "P90", f"P90 ≤ {P90_BAR:.0%}")
    return Section("Held-out shapes", [text], [
        Table(head, summary),
        Table(("family/dtype", "accelerator", "n", "median", "bar", "P90", f"P90 ≤ {P90_BAR:.0%}"), rows),
    ])  # fmt: skip


def points_sections() -> list[Section]:
    """Measured steps of whole systems, which no constant was fitted to."""
    files = [*sorted(POINTS.glob("*.csv")), *(sorted(SHARED.glob("points_*.csv")) if SHARED.is_dir() else ())]
    sections = []
    seen: set[str] = set()
    for path in files:
        points = [point for point in read_points(path) if point.id not in seen]
        seen |= {point.id for point in points}
        if not points:
            continue
        progress(f"points: {path.name}")
        rows = validate(points)
        predicted = [row for row in rows if row.predicted is not None and row.point.kind != "fleet"]
        overall = statistics(predicted)
        if not predicted:
            sections.append(Section(f"Points: {path.name}", [f"none of {len(rows)} rows is predicted yet"]))
            continue
        table: list[list[Content]] = [
            [f"{s['kind']}, {s['model']} on {s['accelerator']}", s["metric"], Cell(f"{s['predicted']}/{s['n']}"),
             share(s["mape"]), signed(s["bias"]), share(s["inside_band"])]
            for s in summarise(rows) if s["predicted"]
        ]  # fmt: skip
        text = (
            f"{len(predicted)} of {len(rows)} rows predicted; MAPE {overall['mape']:.1%}, "
            f"median {overall['median_ape']:.1%}, bias {overall['bias']:+.1%}, in band {overall['inside_band']:.0%} "
            f"(bar {INSIDE_BAR:.0%}: {'met' if overall['inside_band'] >= INSIDE_BAR else 'missed'})."
        )
        sections.append(Section(f"Points: {path.name}", [text, *_stated_batch(predicted)], [
            Table(("rows", "metric", "n", "MAPE", "bias", "in band"), table)]))  # fmt: skip
    return sections


def _stated_batch(rows: Sequence[Row]) -> list[str]:
    """The bar on phases whose row states its batch."""
    stated = [row for row in rows if row.point.kind in ("prefill", "decode")]
    if not stated:
        return []
    mape = statistics(stated)["mape"]
    verdict = mark(mape, PHASE_MAPE_BAR)
    return [f"Prefill and decode rows with a stated batch: MAPE {mape:.1%} (bar {PHASE_MAPE_BAR:.0%}: {verdict})."]


def crossover_section() -> Section:
    """H20: EP32 serves more tokens a second and card at batch 8, EP16 at batch 32 [lmsys-ant-h20]."""
    model, chip = load_model("deepseek-v3"), load_accelerator("h20-96g")
    rows: list[list[Content]] = []
    verdicts = []
    for batch, better in ((8, 32), (32, 16)):
        rate = {}
        for ep in (16, 32):
            plan = ServingPlan(ep, ep=ep, precision="fp8", overlap="single-batch", routing="eplb")
            load = DecodeLoad(4864, batch, mtp_tokens=1, mtp_acceptance=0.9)
            rate[ep] = predict_inference(model, chip, plan, load)["tokens_per_s_per_gpu"]
        verdict = "met" if max(rate, key=lambda ep: rate[ep]) == better else "missed"
        verdicts.append(verdict)
        rows.append([batch, *(Cell(number(value), value) for value in rate.values()), f"EP{better}", verdict])
    text = "Decode of DeepSeek-V3 on H20 at context 4,864 with one drafted token: which width wins."
    columns = ("batch per GPU", "EP16 tokens/s/GPU", "EP32 tokens/s/GPU", "measured winner", "bar")
    return Section("H20: the crossover of EP16 and EP32", [text], [Table(columns, rows)])


def _shapes(count: int) -> list[Op]:
    """Ops of every compute law over ``count`` random shapes."""
    rng = np.random.default_rng(0)
    m, groups = 2.0 ** rng.uniform(0, 13, count), 2.0 ** rng.uniform(0, 6, count)
    n, k = 2.0 ** rng.uniform(8, 14, count), 2.0 ** rng.uniform(9, 14, count)
    return [
        gemm("gemm", m, n, k, "bf16", 1.0, ""),
        gemm("gemm, block FP8", m, n, k, "fp8", 1.0, ""),
        batched_gemm("batched_gemm", m, 512.0, 128.0, groups, "bf16", 1.0, ""),
        experts("experts", m, 2048.0, 7168.0, groups, "fp8", 1.0, "", "moe", 1.0 + rng.random(count)),
        Op("mla_decode", "mla_decode", "bf16", 2.0 * m * 128 * n * 1088, m * n * 1152, 1.0, "",
           {"batch": m, "context": n, "heads": np.full(count, 128.0), "rows": np.full(count, 128.0)}),
        stream("memory", m * n, 1.0, ""),
    ]  # fmt: skip


def _rate(op: Op, device: Device, count: int) -> float:
    """Op times per CPU second, best of three."""
    best = 0.0
    for _ in range(3):
        start = time.process_time()
        time_op(op, device)
        best = max(best, count / (time.process_time() - start))
    return best


def speed_sections(count: int = 200_000) -> list[Section]:
    """Op times a second on one core with and without corrections, and what a calibration file weighs."""
    chip = load_accelerator("h100-sxm")
    device = device_for(chip)
    rows: list[list[Content]] = []
    for op in _shapes(count):
        key = f"{op.family}/{op.dtype}"
        fitted = device.laws[key]
        bare = replace(device, laws={key: replace(fitted, correction=None)})
        without, full = _rate(op, bare, count), _rate(op, device, count)
        rows.append([op.name, Cell(number(without / 1e6) + " M/s", without), Cell(number(full / 1e6) + " M/s", full),
                     "met" if full >= RATE_BAR else "missed"])  # fmt: skip
    files: list[list[Content]] = []
    for path in sorted(CALIBRATION.glob("*.json")):
        spent = min(_load_s(path) for _ in range(3))
        size = path.stat().st_size
        files.append([path.stem, Cell(quantity(size, "B"), size), mark(size, FILE_BAR_BYTES),
                      Cell(quantity(spent, "s"), spent), mark(spent, LOAD_BAR_S)])  # fmt: skip
    text = f"{count:,} shapes in one broadcast call; bar: {RATE_BAR / 1e6:g} million a second on one core."
    return [
        Section("Speed", [text], [Table(("law", "bare", "with correction", "bar"), rows)]),
        Section("Calibration files", [f"Bars: {FILE_BAR_BYTES // 1000} kB, loaded in {LOAD_BAR_S * 1e3:g} ms."],
                [Table(("accelerator", "size", "bar", "load", "bar "), files)]),
    ]  # fmt: skip


def _load_s(path: Path) -> float:
    start = time.perf_counter()
    parse_calibration(path)
    return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="also write the tables to FILE")
    parser.add_argument("--bands", action="store_true", help="renew hwprofiles/transfer.json from this run")
    args = parser.parse_args(arguments)
    start = time.perf_counter()
    results = transfer_results(progress, args.bands)
    sections = [
        held_out_section(),
        unseen_section(progress),
        accelerator_section(results),
        architecture_section(results),
        *points_sections(),
        crossover_section(),
        *speed_sections(),
    ]
    document = Document("Accuracy of the laws and of whole steps", sections, {})
    Console(width=max(Console().width, 120)).print(render_document(document))
    if args.markdown is not None:
        args.markdown.write_text(markdown(document), encoding="utf-8")
    progress(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
