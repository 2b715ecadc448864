"""`costsim hw`: the accelerators of the catalog, each field with its source, and what was measured on them."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costsim import units
from costsim.cli.catalogs import add_action, checked_action, kept
from costsim.cli.law_plots import chip_law_section
from costsim.cli.output import extension, finish
from costsim.errors import Malformed

if TYPE_CHECKING:
    from costsim.report.document import Content, Document, Section
    from costsim.spec.accelerator import Accelerator, Datum

NAME = "hw"
HELP = "accelerators: list them, or show one with sources, confidence and calibration"
EXAMPLE = """
costsim hw list
costsim hw list h20
costsim hw show h800-sxm --json
"""
#: heading of the list → datasheet field and the unit that it is shown in
_LISTED = {
    "BF16": ("bf16", units.TERA),
    "FP8": ("fp8", units.TERA),
    "GB": ("memory", units.GIGA),
    "TB/s": ("memory_bandwidth", units.TERA),
    "up GB/s": ("scale_up_bandwidth", units.GIGA),
    "out GB/s": ("scale_out_bandwidth", units.GIGA),
}


def configure(parser: argparse.ArgumentParser) -> None:
    add_action(parser, "accelerator")


def run(args: argparse.Namespace) -> int:
    from costsim.spec.catalog import ACCELERATORS, load_accelerator, names

    if checked_action(args, NAME, "accelerator") == "show":
        return finish(args, _page(args, load_accelerator(args.id)))
    chips = [load_accelerator(name) for name in kept(names(ACCELERATORS), args.id, "accelerator")]
    return finish(args, listed(chips))


def _page(args: argparse.Namespace, chip: Accelerator) -> Document:
    """What is known of the chip; a file also gets its laws with their parameters, and a page their plots."""
    document = shown(chip)
    if args.out is None:
        return document
    plotted = extension(Path(args.out)) == "html"
    return replace(
        document, sections=[*document.sections, chip_law_section(chip, list(document.payload["calibration"]), plotted)]
    )


def calibration_of(chip: Accelerator) -> dict[str, dict[str, Any]]:
    """Laws that times on this chip rest on, "family/dtype" → grade here, errors where it was measured, and where.

    Own measurements first; what relatives (C) and strangers (D) lend is listed for what they measured.
    """
    from costsim.calibration.store import Laws, measured_parts

    laws, tables = Laws(chip), measured_parts()[1]
    known = dict.fromkeys([*laws, *(key for table in tables.values() for key in table)])
    shown: dict[str, dict[str, Any]] = {}
    for key in sorted(known):
        law = laws.get(key)
        if law is None:  # a framework's own kernels are lent to no other architecture
            continue
        origin = law.origin.split("+")[0]
        errors = _errors(_measured_on(origin).get(key, {}))
        shown[key] = {"grade": law.grade, **errors, "measured_on": law.origin}
    return shown


def _measured_on(owner: str) -> dict[str, Any]:
    from costsim.files import read_json
    from costsim.spec.catalog import CALIBRATION

    path = CALIBRATION / f"{owner}.json"
    if not path.is_file():
        return {}
    try:
        return dict(read_json(path, "calibration")["laws"])
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed(f"{path.name}: not a calibration file ({error}); `costsim calibrate` writes one") from None


def _errors(law: dict[str, Any]) -> dict[str, Any]:
    held_out = law.get("held_out", {})
    return {
        "n": law.get("n"),
        "held_out_median_ape": held_out.get("median_ape"),
        "held_out_p90_ape": held_out.get("p90_ape"),
        "source": law.get("sources", []),
    }


def datum_json(datum: Datum) -> dict[str, Any]:
    """One datasheet field as the contract has it."""
    return {
        "value": datum.value, "unit": datum.unit, "source": list(datum.sources), "confidence": datum.confidence,
        "text": datum.text, "note": datum.note,
    }  # fmt: skip


def _facts(chip: Accelerator) -> dict[str, Any]:
    facts = chip.model_dump(exclude={"datasheet"})
    return facts | {"datasheet": {key: datum_json(datum) for key, datum in chip.datasheet.items()}}


def shown(chip: Accelerator) -> Document:
    """One accelerator, field by field."""
    from costsim.report.document import Cell, Document, Section, Table
    from costsim.report.words import label

    laws = calibration_of(chip)
    rows: list[list[Content]] = [
        [label(key), Cell(datum.text, datum.value), datum.confidence if datum.sources else "",
         ", ".join(datum.sources), datum.note]
        for key, datum in chip.datasheet.items()
    ]  # fmt: skip
    facts = f"{chip.vendor}; {chip.market or 'market unknown'}; {chip.year or 'year unknown'}; {chip.memory_type}"
    wiring = f"{chip.node_devices} a node; dies: {chip.dies}; sibling: {chip.sibling or 'none'}"
    sheet = Table(("field", "value", "confidence", "source", "note"), rows)
    paragraphs = [text for text in (facts, wiring, chip.notes) if text]
    sections = [
        Section("Datasheet: dense peaks, bandwidths per direction", paragraphs, [sheet]),
        _calibration_section(laws),
    ]
    payload = _facts(chip) | {"calibration": laws}
    flat = [{"field": key, **datum_json(datum)} for key, datum in chip.datasheet.items()]
    return Document(f"{chip.id}: {chip.name}", sections, payload, rows=flat)


def _calibration_section(laws: dict[str, dict[str, Any]]) -> Section:
    from costsim.report.document import Section, Table

    if not laws:
        return Section("Calibration", ["Nothing measured: times rest on the datasheet alone."])
    rows: list[list[Content]] = [
        [key, law["grade"], law["n"], _error(law, "held_out_median_ape"), _error(law, "held_out_p90_ape"),
         law["measured_on"], ", ".join(law["source"])]
        for key, law in laws.items()
    ]  # fmt: skip
    columns = ("law", "grade", "n", "median", "P90", "measured on", "source")
    text = "Held-out errors of each law. Laws of a sibling count as grade C at best, those of any other part as D."
    return Section("Calibration", [text], [Table(columns, rows)])


def _error(law: dict[str, Any], key: str) -> Content:
    from costsim.report.document import Cell
    from costsim.report.words import percent

    value = law[key]
    return Cell(percent(value), value) if isinstance(value, (int, float)) else None


def listed(chips: list[Accelerator]) -> Document:
    """The catalog, a row per accelerator."""
    from costsim.report.document import Document, Section, Table

    rows: list[list[Content]] = []
    flat: list[dict[str, Any]] = []
    for chip in chips:
        best = min((law["grade"] for law in calibration_of(chip).values()), default=None)
        data = [_short(chip.datasheet[key], unit) for key, unit in _LISTED.values()]
        rows.append([chip.id, *data, best])
        facts = {"id": chip.id, "name": chip.name, "vendor": chip.vendor, "market": chip.market, "year": chip.year}
        values = {key: datum.value for key, datum in chip.datasheet.items()}
        flat.append({**facts, **values, "best_grade": best})
    table = Table(("id", *_LISTED, "grade"), rows)
    remark = (
        "BF16 and FP8: dense TFLOP/s. Memory in GB and TB/s; scale-up and scale-out GB/s per direction and card. "
        "? unknown, – not supported. Grade: of the best law that times rest on."
    )
    return Document(f"{len(chips)} accelerators", [Section("", [remark], [table])], {"accelerators": flat}, rows=flat)


def _short(datum: Datum, unit: float) -> Content:
    from costsim.report.document import Cell
    from costsim.report.words import number

    if datum.value is None:
        return "–" if datum.text == "n/a" else "?"
    return Cell(number(datum.value / unit), datum.value)
