"""What profiler traces say, as a Document: times by stream, overlap, families, phases, collectives, gaps, kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from costsim.report.document import Cell, Chart, Content, Document, Section, Table
from costsim.report.figures import grouped_bar
from costsim.report.timeline import timeline_chart
from costsim.report.words import percent, quantity
from costsim.trace.families import short_name
from costsim.trace.summary import Overlap, TraceSummary
from costsim.trace.tensorboard import PluginTables
from costsim.version import __version__

OVERLAP_WORDS = (
    "Overlapped: communication ran while computing did too (the intersection of their busy times). Hidden is that time "
    "over the busy time of communication, of wall the same time over the whole trace. Waiting is time in kernels that "
    "exchange counts or signals, or beyond the shortest rank's time for the same collective; transfer is the rest."
)


def trace_document(
    summaries: Sequence[TraceSummary], shown: int, tables: PluginTables | None = None, top: int = 12
) -> Document:
    """All ranks side by side and the one at ``shown`` in detail."""
    one = summaries[shown]
    sections = [_overview(one)]
    if len(summaries) > 1:
        sections.insert(0, _ranks(summaries))
    sections += [_overlap(one), _streams(one), _families(one)]
    sections += [section for section in (_phases(one), _collectives(one), _gaps(one)) if section.tables]
    sections.append(_kernels(one, top))
    if tables is not None:
        sections += _plugin(tables, top)
    subtitle = f"{one.file}: {one.rank}, {one.device}. Times are the recording's: measured, grade A, no band."
    return Document(
        "Profiler trace" if len(summaries) == 1 else f"Profiler traces of {len(summaries)} ranks",
        sections, {**_payload(summaries), **_plugin_json(tables)}, subtitle, rows=_rows(summaries),
    )  # fmt: skip


def _time(value: float | None) -> Content:
    return None if value is None else Cell(quantity(value, "s"), value)


def _lane(name: str, most: int = 22) -> str:
    """A stream's or phase's name, cut to leave room for the numbers beside it."""
    return name if len(name) <= most else name[: most - 1] + "…"


def _extra(one: TraceSummary) -> int:
    """How much wider than ``stream 7`` the names of streams are."""
    return max((len(_lane(row.name)) - 9 for row in one.streams), default=0)


def _amount(value: float | None, unit: str) -> Content:
    return None if value is None else Cell(quantity(value, unit), value)


def _share(value: float | None) -> Content:
    return None if value is None else Cell(percent(value), value)


def overlap_of(summary: TraceSummary, what: str) -> Overlap | None:
    """One line of the overlaps by its name."""
    return next((row for row in summary.overlaps if row.what == what), None)


def matrix_s(summary: TraceSummary) -> float:
    """Time of kernels that run on matrix units (tensor cores), added over streams."""
    return sum(row.time_s for row in summary.families if row.matrix)


def group_times(summary: TraceSummary) -> dict[str, float]:
    """Time by group of families, the largest first."""
    sums: dict[str, float] = {}
    for row in summary.families:
        sums[row.group] = sums.get(row.group, 0.0) + row.time_s
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def _overview(one: TraceSummary) -> Section:
    computing = sum(row.time_s for row in one.families if row.role == "compute")
    rows: list[list[Content]] = [
        ["wall, first start to last end", _time(one.wall_s), _share(1.0)],
        ["any stream busy", _time(one.busy_s), _share(one.busy_s / one.wall_s if one.wall_s else 0.0)],
    ]
    rows += [
        [f"{_lane(row.name)} busy ({row.role})", _time(row.busy_s), _share(row.share_of_wall)]
        for row in one.streams[:4]
    ]
    for what in ("transfer", "waiting"):
        if (line := overlap_of(one, what)) is not None:
            rows.append([f"{what} exposed", _time(line.exposed_s), _share(line.exposed_s / one.wall_s)])
    text = []
    if computing > 0 and one.device != "CPU":
        text = [
            f"Kernels on matrix units (tensor cores) make up {percent(matrix_s(one) / computing)} of computing time."
        ]
    return Section("Time", [*text, *one.notes], [Table(("time", "seconds", "of wall"), rows)], [timeline_chart(one)])


def _ranks(summaries: Sequence[TraceSummary]) -> Section:
    rows: list[list[Content]] = []
    for one in summaries:
        lines = [overlap_of(one, what) for what in ("transfer", "waiting")]
        computing = sum(row.time_s for row in one.families if row.role == "compute")
        exposed = sum(line.exposed_s for line in lines if line is not None)
        idle = one.idle[0].time_s if one.idle else 0.0
        busy = [_time(0.0 if line is None else line.busy_s) for line in lines]
        rows.append([one.rank, _time(one.wall_s), _time(computing), *busy,
                     _time(exposed), _time(idle)])  # fmt: skip
    columns = ("rank", "wall", "computing", "transfer", "waiting", "exposed", "idle")
    text = "The rank that waits least is the one that the others wait for; exposed is transfer and waiting not hidden."
    return Section("Ranks", [text], [Table(columns, rows)])


def _overlap(one: TraceSummary) -> Section:
    if not one.overlaps:
        return Section("Communication", ["This trace holds no communication."])
    rows: list[list[Content]] = [
        [row.what, _time(row.busy_s), _time(row.overlapped_s), _time(row.exposed_s), _share(row.share_hidden),
         _share(row.share_of_wall)]
        for row in one.overlaps
    ]  # fmt: skip
    against = {row.against for row in one.overlaps}
    words = "Communication streams are set against the other streams, kernels against computing kernels."
    text = [OVERLAP_WORDS, words] if len(against) > 1 else [OVERLAP_WORDS]
    columns = ("communication", "busy", "overlapped", "exposed", "hidden", "of wall")
    return Section("Communication beside computing", text, [Table(columns, rows)])


def _streams(one: TraceSummary) -> Section:
    rows: list[list[Content]] = [
        [_lane(row.name), row.role, row.events, _time(row.busy_s), _share(row.share_of_wall), _time(row.largest_gap_s)]
        for row in one.streams
    ]
    return Section("Streams", (), [Table(("stream", "mostly", "calls", "busy", "of wall", "largest gap"), rows)])


def _families(one: TraceSummary) -> Section:
    rows: list[list[Content]] = [
        [row.name, "waiting" if row.role == "wait" else row.group, row.calls, _time(row.time_s), _share(row.share),
         _time(row.exposed_s)]
        for row in one.families
    ]  # fmt: skip
    times = group_times(one)
    total = sum(times.values()) or 1.0
    groups: list[list[Content]] = [[name, _time(time_s), _share(time_s / total)] for name, time_s in times.items()]
    text = "Times are added, also where streams overlap. Alone: computing without communication beside it, and in turn."
    figure = grouped_bar(list(times), {one.rank: [1e3 * time_s for time_s in times.values()]}, "Time by group", "ms")
    words = ", ".join(f"{name} {quantity(time_s, 's')}" for name, time_s in times.items())
    tables = [
        Table(("group", "time", "share"), groups),
        Table(("family", "group", "calls", "time", "share", "alone"), rows),
    ]
    return Section("Kernels by family", [text], tables, [Chart(figure, f"{words}.")])


def _phases(one: TraceSummary) -> Section:
    rows: list[list[Content]] = [
        [
            row.name,
            row.stream,
            row.occurrences,
            row.kernels,
            _time(row.time_s),
            _time(row.wait_s or None),
            _time(row.per_occurrence_s),
        ]
        for row in one.phases
    ]
    text = (
        "Kernels by the innermost annotation open when they were launched; each is the time of one layer or step where "
        "the annotation was opened once in it."
    )
    columns = ("annotation", "stream", "times", "calls", "time", "waiting", "each")
    return Section("Phases", [text], [Table(columns, rows)] if rows else [])


def _collectives(one: TraceSummary) -> Section:
    rows: list[list[Content]] = [
        [
            row.name, row.calls, row.ranks or None, _amount(row.bytes, "B"), _time(row.time_s), _time(row.wait_s),
            _amount(row.bus_bytes_per_s, "B/s"),
        ]
        for row in one.collectives[:20]
    ]  # fmt: skip
    text = (
        "A dash: not recorded. Waiting is told from transfer by kernels made for it, or by the traces of several ranks."
    )
    columns = ("collective", "calls", "ranks", "message", "time", "waiting", "bus rate")
    return Section("Collectives", [text], [Table(columns, rows)] if rows else [])


def _gaps(one: TraceSummary) -> Section:
    rows: list[list[Content]] = [
        [row.where, row.count, _time(row.time_s), _share(row.share_of_wall), _time(row.late_launch_s)]
        for row in one.idle
    ]
    tables = [Table(("idle", "gaps", "time", "of wall", "late launch"), rows)]
    for row in one.idle[-1:]:
        largest: list[list[Content]] = [
            [
                _time(gap.time_s),
                _time(gap.start_s),
                short_name(gap.before, 18),
                short_name(gap.after, 18),
                gap.cause or None,
            ]
            for gap in row.largest
        ]
        tables.append(Table(("gap", "at", "after", "before", "cause"), largest, f"largest gaps, {row.where}"))
    text = "Late launch: the host issued the next kernel only after the gap had begun; else that kernel waited."
    known = any(row.late_launch_s is not None for row in one.idle)
    return Section("Gaps", [text] if known else [], tables if one.idle and one.idle[0].count else [])


def _kernels(one: TraceSummary, top: int) -> Section:
    rows: list[list[Content]] = [
        [
            short_name(row.name, 33 - _extra(one)),
            _lane(row.stream),
            row.calls,
            _time(row.time_s),
            _time(row.mean_s),
            row.blocks or None,
        ]
        for row in one.kernels[:top]
    ]
    text = "Blocks: size of the kernel's grid; for kernels that stay on their cores, the cores that they hold."
    known = any(row.blocks for row in one.kernels[:top])
    columns = ("kernel", "stream", "calls", "time", "mean", "blocks")
    return Section("Longest kernels", [text] if known else [], [Table(columns, rows)])


def _plugin(tables: PluginTables, top: int) -> list[Section]:
    operators: list[list[Content]] = [
        [short_name(row.name, 40), row.calls, _time(row.host_self_s), _time(row.host_total_s), _time(row.device_self_s)]
        for row in sorted(tables.operators, key=lambda row: -row.host_self_s)[:top]
    ]
    kernels: list[list[Content]] = [
        [short_name(row.name, 40), row.calls, _time(row.total_s), _time(row.mean_s), _time(row.max_s)]
        for row in tables.kernels[:top]
    ]
    text = "As TensorBoard's profiler plugin counts them; its tensor-core and overlap figures are not repeated here."
    sections = [Section("Operators", [text], [Table(("operator", "calls", "self", "with calls", "device"), operators)])]
    if kernels:
        columns = ("kernel", "calls", "time", "mean", "max")
        sections.append(Section("Kernels of the plugin", (), [Table(columns, kernels)]))
    return sections


def _payload(summaries: Sequence[TraceSummary]) -> dict[str, Any]:
    return {"traces": [trace_json(one) for one in summaries], "version": __version__}


def trace_json(one: TraceSummary) -> dict[str, Any]:
    """Everything but the timeline, with sums that readers ask for first."""
    plain = {field.name: getattr(one, field.name) for field in dataclasses.fields(one) if field.name != "lanes"}
    return {**plain, "groups": group_times(one), "matrix_s": matrix_s(one)}


def _plugin_json(tables: PluginTables | None) -> Mapping[str, Any]:
    return {} if tables is None else {"plugin": tables}


def _rows(summaries: Sequence[TraceSummary]) -> list[dict[str, Any]]:
    """Flat rows for CSV: families, phases and kernels of every rank."""
    rows: list[dict[str, Any]] = []
    for one in summaries:
        for part, items in (("stream", one.streams), ("overlap", one.overlaps), ("family", one.families),
                            ("phase", one.phases), ("collective", one.collectives),
                            ("kernel", one.kernels)):  # fmt: skip
            rows += [{"rank": one.rank, "part": part, **dataclasses.asdict(item)} for item in items]
    return rows
