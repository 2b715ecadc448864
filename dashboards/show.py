"""A Document on the page: large numbers with band and grade, tables, charts with their words, notes with sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import streamlit as st

from costsim.predict.report import Metric
from costsim.report.document import Chart, Content, Document, Section, Table, is_numeric, text_of
from costsim.report.jsonable import jsonable
from costsim.report.pages import flat
from costsim.report.words import band, value_text
from dashboards import uploads
from dashboards.glossary import of_number
from dashboards.words import language, name_of, pieces, safe, said, tr

#: colours of grades; the letter alone carries the meaning
GRADE_COLOURS = {"A": "green", "B": "blue", "C": "orange", "D": "red"}
GRADE_WORDS = {
    "A": "measured on this part, inside the measured shapes",
    "B": "measured on this part, extrapolated",
    "C": "carried over from a sibling part",
    "D": "datasheet times transferred efficiency, or an assumption",
}
#: how headings begin that ``launches`` draws in its own way
LAUNCH = "Launch with "
#: rows beyond which a table scrolls in a frame of its own
LONG = 40
#: of a breakdown in pixels: its legend takes many lines on a narrow page; of a card, so that three stand side by side
BREAKDOWN_HEIGHT, CARD_WIDTH = 360, 236
#: pixels under a chart that has no legend
NO_LEGEND = 45

STYLE = """<style>
.cs-scroll {overflow-x:auto; margin:.2rem 0 1rem;}
.cs-table {border-collapse:collapse; font-size:.87rem; min-width:40%;}
.cs-table caption {text-align:left; opacity:.75; padding:.2rem 0; caption-side:top;}
.cs-table th {text-align:left; font-weight:600; border-bottom:2px solid rgba(128,128,128,.45); padding:.25rem .6rem;
  white-space:nowrap;}
.cs-table td {border-bottom:1px solid rgba(128,128,128,.25); padding:.22rem .6rem; vertical-align:top;
  overflow-wrap:break-word; min-width:3.2rem; max-width:28rem;}
.cs-table .num {text-align:right; font-variant-numeric:tabular-nums; white-space:nowrap;}
.cs-table td:first-child {min-width:7rem;}
.cs-long {max-height:30rem; overflow-y:auto;}
.cs-grade {display:inline-block; min-width:1.3em; text-align:center; border-radius:.35em; font-weight:700;
  border:1.5px solid currentColor; padding:0 .25em;}
.cs-A {color:#00966c;} .cs-B {color:#2a85c0;} .cs-C {color:#bb7900;} .cs-D {color:#dd5f0a;}
[data-testid="stMetricValue"] {font-size:1.4rem;}
[data-testid="stPageLink"] p {white-space:normal;}
[data-testid="stHeading"] h1 {font-size:2rem;} [data-testid="stHeading"] h3 {font-size:1.25rem;}
[data-testid="stMainBlockContainer"] {padding:3.2rem clamp(1rem, 3vw, 3.5rem) 3rem;}
[class*="card_"] [data-testid="stCaptionContainer"] p {font-variant-numeric:tabular-nums; font-size:.8rem;}
@media (max-width:640px) {
  [class*="card_"] {width:100% !important;}
  [class*="_controls"] {max-height:21rem; overflow-y:auto; border-bottom:2px solid rgba(128,128,128,.45);}
}
</style>"""


def payload(document: Document) -> Mapping[str, Any]:
    """The JSON answer; empty where it is a list."""
    return document.payload if isinstance(document.payload, Mapping) else {}


def metrics_of(
    document: Document, numbers: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
) -> dict[str, Metric]:
    """The numbers of a report, or those that ``numbers`` finds in another answer; empty where there are none."""
    found = numbers(payload(document)) if numbers else payload(document).get("metrics")
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
    with st.container(border=True, width=CARD_WIDTH, key=f"{prefix}card_{name}", gap="xsmall"):
        said = (of_number(name, language() == "zh"), f"{metric.grade}: {tr(GRADE_WORDS.get(metric.grade[:1], ''))}")
        words = "  \n".join(filter(None, said))
        st.metric(headed(name_of(name)), value_text(name, metric), help=words or None)
        span = band(name, metric)
        st.caption(f"P10 … P90: {safe(span)}" if span else tr("no band"))
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f":{GRADE_COLOURS.get(metric.grade[:1], 'gray')}-badge[{tr('grade')} {metric.grade}]")
            if st.button(tr("Where from?"), key=f"{prefix}from_{name}", type="tertiary", icon=":material/account_tree:",
                         help=tr("The terms, laws and sources of this number")):  # fmt: skip
                where_from(name)


def price(document: Document) -> None:
    """What a card costs here, where money is among the numbers: the default is somebody's price."""
    stated = flat(payload(document).get("inputs") or {}).get("price")
    if stated:
        st.caption(f"{tr('Price of a card')}: {safe(str(stated))}")
        notes = [str(note) for note in payload(document).get("notes") or () if str(note).startswith("price: ")]
        if "leaves out" in "".join(notes):
            st.warning(safe(said(notes[0])), icon=":material/sell:")


def headed(words: str) -> str:
    """A name as a heading: its first letter large, abbreviations as they are."""
    return f"{words[:1].upper()}{words[1:]}"


def section(part: Section, key: str, without: Sequence[str] = ()) -> None:
    """One section of a document."""
    if part.heading and part.heading not in without:
        st.subheader(safe(pieces(part.heading)), anchor=False)
    for paragraph in part.paragraphs:
        st.markdown(safe(said(paragraph)))
    for number, drawn in enumerate(part.charts):
        chart(drawn, f"{key}.{number}")
    for rows in part.tables:
        table(rows)


def sections(document: Document, key: str, skip: Sequence[str] = ()) -> None:
    """Every section but those of the headings in ``skip``; inputs, notes and sources under a fold."""
    folded = ("Inputs", "Notes", "Sources", "Notes and sources")
    for number, part in enumerate(document.sections):
        if part.heading not in skip and part.heading not in folded and not part.heading.startswith(LAUNCH):
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
    if not _has_legend(figure):
        layout["margin"] = {**layout.get("margin", {}), "b": NO_LEGEND}
    title = layout.get("title")
    if isinstance(title, dict):
        layout["title"] = {**title, "text": pieces(str(title.get("text", "")))}
    for name, axis in layout.items():
        if name.startswith(("xaxis", "yaxis")) and isinstance(axis, dict) and isinstance(axis.get("title"), dict):
            layout[name] = {**axis, "title": {**axis["title"], "text": pieces(str(axis["title"].get("text", "")))}}
    figure["data"] = [_named(trace) for trace in figure.get("data", ())]
    for mark in layout.get("annotations") or ():
        mark["text"] = pieces(str(mark.get("text", "")).strip())
    config = {"displaylogo": False, "responsive": True, "toImageButtonOptions": {"format": "png", "scale": 2}}
    st.plotly_chart(figure, key=f"chart.{key}", config=config, alt=said(drawn.label))
    st.caption(safe(said(drawn.label)))


def _named(trace: dict[str, Any]) -> dict[str, Any]:
    """A trace with its name and its categories in the reader's language."""
    named = {**trace, "name": pieces(trace["name"])} if isinstance(trace.get("name"), str) else dict(trace)
    for axis in ("x", "y", "labels"):
        if isinstance(trace.get(axis), list):
            named[axis] = [said(value) if isinstance(value, str) else value for value in trace[axis]]
    return named


def _has_legend(figure: Mapping[str, Any]) -> bool:
    traces = [trace for trace in figure.get("data", ()) if trace.get("showlegend", True)]
    named = [trace for trace in traces if trace.get("type", "scatter") not in ("heatmap", "icicle", "waterfall")]
    return bool(figure["layout"].get("showlegend", len(named) > 1)) and len(named) > 0


def renamed(document: Document) -> Document:
    """An answer about files with the names that their owner gave them."""
    parts = [
        replace(
            part, heading=uploads.readable(part.heading), paragraphs=list(map(uploads.readable, part.paragraphs)),
            tables=[replace(rows, rows=[list(map(_renamed, row)) for row in rows.rows]) for rows in part.tables],
            charts=[Chart(_words(drawn.figure), uploads.readable(drawn.label)) for drawn in part.charts],
        )
        for part in document.sections
    ]  # fmt: skip
    return replace(
        document, title=uploads.readable(document.title), subtitle=uploads.readable(document.subtitle), sections=parts
    )


def _words(drawn: Any) -> Any:
    """The same figure, every text of it readable."""
    if isinstance(drawn, str):
        return uploads.readable(drawn)
    if isinstance(drawn, Mapping):
        return {name: _words(part) for name, part in drawn.items()}
    return [_words(part) for part in drawn] if isinstance(drawn, (list, tuple)) else drawn


def _renamed(cell: Content) -> Content:
    return uploads.readable(cell) if isinstance(cell, str) else cell


def table(rows: Table) -> None:
    """A table as HTML that every reader and every width can use; all text escaped."""
    if not rows.rows:
        return
    numeric = [is_numeric([row[index] for row in rows.rows]) for index in range(len(rows.columns))]
    head = "".join(
        f'<th scope="col"{_side(right)}>{escape(pieces(name))}</th>'
        for name, right in zip(rows.columns, numeric, strict=True)
    )
    body = "".join(f"<tr>{_row(rows.columns, row, numeric)}</tr>" for row in rows.rows)
    caption = f"<caption>{escape(pieces(rows.caption))}</caption>" if rows.caption else ""
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
    return escape(said(text.strip()))


def refusal(error: BaseException) -> None:
    """One line that helps, never a traceback."""
    from costsim.errors import BadInput
    from dashboards.answers import Cancelled

    if isinstance(error, BadInput):
        st.error(safe(uploads.readable(said(_plainly(str(error))))), icon=":material/info:")
    elif isinstance(error, Cancelled):
        st.info(tr("Stopped. Change something or press Run to ask again."), icon=":material/stop_circle:")
    else:
        st.error(
            f"{tr('A defect of costsim, not of your question')}: {safe(str(error)[:300])}", icon=":material/bug_report:"
        )


def _plainly(text: str) -> str:
    """A refusal without what only a terminal has: the command that lists its options."""
    return text.partition("; see `costsim")[0].removeprefix("argument ")


def flat_value(value: Any) -> str:
    """Any plain value as text for a table of inputs."""
    return "–" if value is None else str(value)
