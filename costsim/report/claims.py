"""Claims as a page: a table of verdicts, then every claim with its reasoning, figures, rules and commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from costsim.evidence.claims.figure import Figure
from costsim.evidence.claims.rules import Judged, shown
from costsim.report.document import Cell, Chart, Content, Document, Section, Table
from costsim.report.figures import curves, grouped_bar

_WORDS = (
    "Verdicts follow from the figures by the rules under each claim; thresholds and words stand in "
    "hwprofiles/claims.toml. Bands are P10 to P90 of the laws behind a figure."
)
#: x axes that span more than this are logarithmic
_WIDE = 20.0


def claims_document(found: Sequence[Judged]) -> Document:
    """All claims: the table first, a section for each behind it."""
    counts = Counter(judged.verdict for judged in found)
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    rows: list[list[Content]] = [
        [
            judged.claim.id,
            judged.verdict,
            f"{_value(judged.main).text}: {judged.claim.main.replace('_', ' ')}",
            _band(judged.main),
        ]
        for judged in found
    ]
    table = Table(("claim", "verdict", "main figure", "P10 … P90"), rows)
    first = Section(
        "Verdicts",
        [f"{len(found)} claims: {said}.", _WORDS],
        [table], [_verdicts(counts)],
    )  # fmt: skip
    return Document(
        "Public claims, computed and judged", [first, *(section(judged) for judged in found)], _payload(found),
        subtitle=f"{len(found)} claims: {said}", rows=_rows(found),
    )  # fmt: skip


def overview(found: Sequence[Judged]) -> Document:
    """What a terminal shows of all claims: the table, and every verdict's condition in a line."""
    whole = claims_document(found)
    said = [f"{j.claim.id}: {j.verdict}{': ' if j.condition else ''}{j.condition}" for j in found]
    last = "`costsim claims ID` says why, with all figures and commands; --out claims.html draws the curves."
    return replace(whole, sections=[whole.sections[0], Section("Conditions", [*said, last])])


def with_overview(document: Document, found: Sequence[Judged]) -> Document:
    """A report with what a terminal shows of all claims behind it."""
    first, *rest = overview(found).sections
    return replace(document, sections=[*document.sections, replace(first, heading="Public claims"), *rest])


def with_claims(document: Document, found: Sequence[Judged]) -> Document:
    """A report with the verdicts behind it, and why each: the reasoning with its sources, the curves where it has any.

    The figures and commands of each stay with `costsim claims`.
    """
    whole = claims_document(found)
    first = whole.sections[0]
    last = "`costsim claims ID` prints all figures of a claim, the commands behind them and what moves them."
    sections = [
        *document.sections,
        replace(first, heading="Public claims", paragraphs=[*first.paragraphs, last]),
        *(_short(judged) for judged in found),
    ]
    return replace(document, sections=sections, payload={**document.payload, "claims": whole.payload})


def _short(judged: Judged) -> Section:
    """One claim in a longer report: what is said, the verdict, why, and its curves."""
    claim = judged.claim
    condition = f": {judged.condition}" if judged.condition else ""
    words = [f"“{claim.statement}”", f"Verdict: {judged.verdict}{condition}.", judged.reasoning]
    charts = [_chart(title, curve) for title, curve in judged.curves.items()]
    return Section(f"{claim.id}: {judged.verdict}", words, (), charts, claim.source, depth=2)


def claim_document(judged: Judged) -> Document:
    """One claim with all that is known of it."""
    return Document(f"{judged.claim.id}: {judged.verdict}", [section(judged, True)], _payload([judged]),
                    rows=_rows([judged]))  # fmt: skip


def section(judged: Judged, alone: bool = False) -> Section:
    """One claim: what is said, the verdict, why, its figures, and how to move them."""
    claim = judged.claim
    condition = f": {judged.condition}" if judged.condition else ""
    words = [
        f"“{claim.statement}” ({', '.join(claim.file)})",
        f"Verdict: {judged.verdict}{condition}.",
        judged.reasoning,
        "Rules, the first that holds: " + "; ".join(rule.text() for rule in claim.rules) + ".",
        *([f"To move it: {claim.move_note}."] if claim.move_note else []),
    ]
    figures: list[list[Content]] = [
        [name.replace("_", " "), _value(figure), _band(figure)] for name, figure in judged.figures.items()
    ]
    tables = [Table(("figure", "value", "P10 … P90"), figures)]
    commands: list[list[Content]] = [[command] for command in judged.commands()]
    if commands:
        tables.append(Table(("commands that print these figures",), commands))
    tables.append(Table(("commands that move them",), [[command] for command in claim.move]))
    charts = [_chart(title, curve) for title, curve in judged.curves.items()]
    heading = "" if alone else f"{claim.id}: {judged.verdict}"
    return Section(heading, words, tables, charts, claim.source, depth=1 if alone else 2)


def _chart(title: str, curve: Mapping[str, Any]) -> Chart:
    names = ", ".join(curve["series"])
    label = f"{title}, {curve['unit']}: {names}."
    if curve.get("kind") == "bar":
        return Chart(grouped_bar([str(x) for x in curve["x"]], curve["series"], title, curve["unit"]), label)
    x = [float(value) for value in curve["x"]]
    log = min(x) > 0 and max(x) / min(x) > _WIDE
    return Chart(curves(x, curve["series"], title, curve["xaxis"], curve["unit"], log), label)


def _verdicts(counts: Mapping[str, int]) -> Chart:
    names = list(counts)
    label = "Claims by verdict: " + ", ".join(f"{name} {counts[name]}" for name in names) + "."
    return Chart(grouped_bar(names, {"claims": [counts[name] for name in names]}, "Claims by verdict", "claims"), label)


def _value(figure: Figure) -> Cell:
    return Cell(shown(figure), figure.value)


def _band(figure: Figure) -> str:
    if figure.low is None or figure.high is None or figure.low == figure.high:
        return ""
    low, high = (shown(Figure(end, figure.unit)) for end in (figure.low, figure.high))
    unit = f" {figure.unit}"
    return f"{low.removesuffix(unit)} … {high.removesuffix(unit)}"


def _payload(found: Sequence[Judged]) -> Any:
    return [judged.json() for judged in found]


def _rows(found: Sequence[Judged]) -> list[dict[str, Any]]:
    return [
        {"claim": judged.claim.id, "verdict": judged.verdict, "figure": name, **figure.json(),
         "command": figure.command, "path": figure.path}
        for judged in found for name, figure in judged.figures.items()
    ]  # fmt: skip
