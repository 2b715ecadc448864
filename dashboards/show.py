"""A Document on the page: large numbers with band and grade, tables, charts with their words, notes with sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import streamlit as st

from costsim.predict.report import Metric
from costsim.report.document import Chart, Content, Document, Section, Table, is_numeric, text_of
from costsim.report.jsonable import jsonable
from costsim.report.words import band, value_text
from dashboards.words import name_of, safe, tr

#: colours of grades; the letter alone carries the meaning
GRADE_COLOURS = {"A": "green", "B": "blue", "C": "orange", "D": "red"}
GRADE_WORDS = {
    "A": "measured on this part, inside the measured shapes",
    "B": "measured on this part, extrapolated",
    "C": "carried over from a sibling part",
    "D": "datasheet times transferred efficiency, or an assumption",
}
#: rows beyond which a table scrolls in a frame of its own
LONG = 40
#: of a breakdown in pixels: its legend takes many lines on a narrow page
BREAKDOWN_HEIGHT = 360

STYLE = """<style>
.cs-scroll {overflow-x:auto; margin:.2rem 0 1rem;}
.cs-table {border-collapse:collapse; font-size:.87rem; min-width:40%;}
.cs-table caption {text-align:left; opacity:.75; padding:.2rem 0; caption-side:top;}
.cs-table th {text-align:left; font-weight:600; border-bottom:2px solid rgba(128,128,128,.45); padding:.25rem .6rem;
  white-space:nowrap;}
.cs-table td {border-bottom:1px solid rgba(128,128,128,.25); padding:.22rem .6rem; vertical-align:top;
  overflow-wrap:anywhere; min-width:3.2rem;}
.cs-table .num {text-align:right; font-variant-numeric:tabular-nums; white-space:nowrap;}
.cs-table td:first-child {min-width:7rem;}
.cs-long {max-height:30rem; overflow-y:auto;}
.cs-grade {display:inline-block; min-width:1.3em; text-align:center; border-radius:.35em; font-weight:700;
  border:1.5px solid currentColor; padding:0 .25em;}
.cs-A {color:#00966c;} .cs-B {color:#2a85c0;} .cs-C {color:#bb7900;} .cs-D {color:#dd5f0a;}
[data-testid="stMetricValue"] {font-size:1.4rem;}
[data-testid="stHeading"] h1 {font-size:2rem;} [data-testid="stHeading"] h3 {font-size:1.25rem;}
[data-testid="stMainBlockContainer"] {padding-top:3.2rem; padding-bottom:3rem;}
</style>"""


def payload(document: Document) -> Mapping[str, Any]:
    """The JSON answer; empty where it is a list."""
    return document.payload if isinstance(document.payload, Mapping) else {}


def metrics_of(document: Document) -> dict[str, Metric]:
    """The numbers of a report; empty for documents that are none."""
    found = payload(document).get("metrics")
    if not isinstance(found, Mapping):
        return {}
    names = ("value", "unit", "low", "high", "grade")
    return {str(name): Metric(**{key: entry.get(key) for key in names}) for name, entry in found.items()
            if isinstance(entry, Mapping) and isinstance(entry.get("value"), (int, float))}  # fmt: skip


def cards(
    metrics: Mapping[str, Metric], chosen: Sequence[str], where_from: Callable[[str], None], prefix: str = ""
) -> None:
    """The chosen numbers, large, each with its band, its grade and a way to where it came from."""
    here = [name for name in chosen if name in metrics]
    if not here:
        return
    with st.container(horizontal=True, key=f"{prefix}numbers"):
        for name in here:
            card(name, metrics[name], where_from, prefix)


def card(name: str, metric: Metric, where_from: Callable[[str], None], prefix: str = "") -> None:
    """One number."""
    with st.container(border=True, width=220, key=f"{prefix}card_{name}", gap="small"):
        words = tr(GRADE_WORDS.get(metric.grade[:1], ""))
        st.metric(name_of(name), value_text(name, metric), help=words or None)
        span = band(name, metric)
        grade = f":{GRADE_COLOURS.get(metric.grade[:1], 'gray')}-badge[{tr('grade')} {metric.grade}]"
        st.markdown(f"{grade} {safe(span) or tr('no band')}")
        if st.button(tr("Where from?"), key=f"{prefix}from_{name}", type="tertiary", icon=":material/account_tree:",
                     help=tr("The terms, laws and sources of this number")):  # fmt: skip
            where_from(name)


def section(part: Section, key: str, without: Sequence[str] = ()) -> None:
    """One section of a document."""
    if part.heading and part.heading not in without:
        st.subheader(safe(tr(part.heading)), anchor=False)
    for paragraph in part.paragraphs:
        st.markdown(safe(paragraph))
    for number, drawn in enumerate(part.charts):
        chart(drawn, f"{key}.{number}")
    for rows in part.tables:
        table(rows)


def sections(document: Document, key: str, skip: Sequence[str] = ()) -> None:
    """Every section but those of the headings in ``skip``; inputs, notes and sources under a fold."""
    folded = ("Inputs", "Notes", "Sources", "Notes and sources")
    for number, part in enumerate(document.sections):
        if part.heading not in skip and part.heading not in folded:
            section(part, f"{key}.{number}")
    last = [part for part in document.sections if part.heading in folded and part.heading not in skip]
    if last:
        with st.expander(tr("Inputs, notes and sources")):
            for number, part in enumerate(last):
                if part.heading in ("Sources", "Notes and sources"):
                    continue
                section(part, f"{key}.last{number}")
            references(payload(document).get("sources", ()))


def references(keys: Sequence[str]) -> None:
    """The works behind an answer, with their titles and addresses."""
    from dashboards.sources import work

    if not keys:
        return
    st.subheader(tr("Sources"), anchor=False)
    for key in keys:
        title, address = work(str(key))
        text = f"`{str(key)[:60]}`  {safe(title)}"
        st.markdown(f"{text}  [{tr('open')}]({address})" if address else text)


def chart(drawn: Chart, key: str) -> None:
    """A figure, its words beside it for who cannot see it, and its camera for a PNG."""
    figure = jsonable(drawn.figure)
    layout = figure.setdefault("layout", {})
    layout.pop("font", None)
    if layout.get("barmode") == "stack":
        layout["height"] = BREAKDOWN_HEIGHT
    title = layout.get("title")
    if isinstance(title, dict):
        layout["title"] = {**title, "text": tr(str(title.get("text", "")))}
    config = {"displaylogo": False, "responsive": True, "toImageButtonOptions": {"format": "png", "scale": 2}}
    st.plotly_chart(figure, key=f"chart.{key}", config=config, alt=drawn.label)
    st.caption(safe(drawn.label))


def table(rows: Table) -> None:
    """A table as HTML that every reader and every width can use; all text escaped."""
    if not rows.rows:
        return
    numeric = [is_numeric([row[index] for row in rows.rows]) for index in range(len(rows.columns))]
    head = "".join(
        f'<th scope="col"{_side(right)}>{escape(tr(name))}</th>'
        for name, right in zip(rows.columns, numeric, strict=True)
    )
    body = "".join(f"<tr>{_row(rows.columns, row, numeric)}</tr>" for row in rows.rows)
    caption = f"<caption>{escape(tr(rows.caption))}</caption>" if rows.caption else ""
    long = " cs-long" if len(rows.rows) > LONG else ""
    st.html(
        f'<div class="cs-scroll{long}" tabindex="0"><table class="cs-table">{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(columns: Sequence[str], row: Sequence[Content], numeric: Sequence[bool]) -> str:
    return "".join(
        f"<td{_side(right)}>{_cell(name, text_of(cell))}</td>"
        for name, cell, right in zip(columns, row, numeric, strict=True)
    )


def _side(right: bool) -> str:
    return ' class="num"' if right else ""


def _cell(column: str, text: str) -> str:
    if column in ("grade", "confidence") and text[:1] in GRADE_COLOURS:
        return f'<span class="cs-grade cs-{text[0]}">{escape(text)}</span>'
    return escape(tr(text))


def refusal(error: BaseException) -> None:
    """One line that helps, never a traceback."""
    from costsim.errors import BadInput
    from dashboards.answers import Cancelled

    if isinstance(error, BadInput):
        st.error(safe(str(error)), icon=":material/info:")
    elif isinstance(error, Cancelled):
        st.info(tr("Stopped. Change something or press Run to ask again."), icon=":material/stop_circle:")
    else:
        st.error(
            f"{tr('A defect of costsim, not of your question')}: {safe(str(error)[:300])}", icon=":material/bug_report:"
        )


def flat_value(value: Any) -> str:
    """Any plain value as text for a table of inputs."""
    return "–" if value is None else str(value)
