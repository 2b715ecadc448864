"""Laws on a page: law against points, a chart for each family of ops, and the table of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from costsim.calibration.points import Points
from costsim.report.document import Chart, Content, Section, Table
from costsim.report.explained import parameters_text
from costsim.report.figures import predicted_against_measured
from costsim.timing.laws import AnyLaw


def law_section(laws: Mapping[str, AnyLaw], points: Mapping[str, Points], heading: str) -> Section:
    """The parameters of every law and, where rows are at hand, what it says against what was measured."""
    charts = law_charts(points)
    text = (
        "A law with its correction against the points that it was fitted to, both axes logarithmic; the diagonal is "
        "equality. How far off it is on shapes left out of the fit is in the table of held-out errors."
    )
    return Section(heading, [text] if charts else [], [parameters_table(laws)], charts)


def parameters_table(laws: Mapping[str, AnyLaw]) -> Table:
    """``family/dtype``, the kind of law and its parameters."""
    rows: list[list[Content]] = [
        [key, law.kind, parameters_text({f.name: getattr(law, f.name) for f in fields(law)})]
        for key, law in sorted(laws.items())
    ]
    return Table(("family/dtype", "law", "parameters"), rows)


def law_charts(points: Mapping[str, Points]) -> list[Chart]:
    """One log-log chart for each family, a series for each dtype, in microseconds."""
    families: dict[str, dict[str, list[tuple[float, float, str]]]] = {}
    for key, group in sorted(points.items()):
        family, dtype = key.split("/")
        series = [(measured * 1e6, predicted * 1e6, text) for measured, predicted, text in group]
        if series:
            families.setdefault(family, {})[dtype] = series
    charts = []
    for family, series_of in families.items():
        count = sum(len(group) for group in series_of.values())
        name = family.replace("_", " ")
        figure = predicted_against_measured(series_of, f"{name}: law against points", "µs")
        charts.append(Chart(figure, f"{name}: {count} points, {', '.join(series_of)}; the grey band is ±20 %."))
    return charts
