"""Networks as documents: tables of counts, costs and times, drawings of small graphs, heat maps of traffic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from costsim.evidence.collective import evidence as evidence  # the pages and their verbs ask it here
from costsim.network.routing import Loads
from costsim.network.summary import Expert, Summary, Timed
from costsim.network.topology import Array, Counts, Node, Topology
from costsim.report.document import Cell, Chart, Content, Section, Table
from costsim.report.figures import PALETTE, Figure, _axis, _layout, grouped_bar, log_ticks
from costsim.report.words import number, percent, quantity
from costsim.timing.device import worse

#: largest graph that is drawn node by node, and largest heat map
MOST_DRAWN, MOST_HEAT = 260, 512
_TIERS = {0: "endpoint", 1: "switch, tier 1", 2: "switch, tier 2", 3: "switch, tier 3", -1: "NVSwitch"}


def name_of(node: Node) -> str:
    """A node as a reader wants it: ``leaf 0.3``."""
    if isinstance(node, tuple):
        words = [str(part) for part in node]
        if not words[0].isdigit():
            return f"{words[0]} {'.'.join(words[1:])}"
        return f"switch {'.'.join(words)}"
    return str(node)


def catalog_section(rows: Sequence[tuple[str, Counts, float | None]]) -> Section:
    """Topologies side by side: what must be bought and what it costs."""
    table: list[list[Content]] = [
        [name, found.endpoints, found.switches, found.links, _money(usd, 1e6), _money(usd, 1e3 * found.endpoints)]
        for name, found, usd in rows
    ]
    priced = [(name, usd / found.endpoints / 1e3) for name, found, usd in rows if usd is not None]
    charts = []
    if priced:
        figure = grouped_bar([name for name, _ in priced], {"kUSD per endpoint": [v for _, v in priced]},
                             "Cost of the network per endpoint", "kUSD")  # fmt: skip
        charts.append(Chart(figure, "Cost per endpoint: " + ", ".join(f"{n} {v:.2f} kUSD" for n, v in priced) + "."))
    head = ("topology", "endpoints", "switches", "links", "MUSD", "kUSD each")
    text = (
        "Links count cables between switches. Prices are solved from published totals (grade C, ±2 %); – where no "
        "price is known."
    )
    return Section("Topologies", [text], [Table(head, table)], charts)


def _money(usd: float | None, scale: float) -> Content:
    return None if usd is None else Cell(f"{usd / scale:.4g}", usd / scale)


def summary_section(summary: Summary, grade: str) -> Section:
    """One network in numbers."""
    found = summary.counts
    rows: list[list[Content]] = [
        ["endpoints", found.endpoints, "A"],
        ["switches", found.switches, "A"],
        ["cables between switches", found.links, "A"],
        ["cost of priced links", None if summary.usd is None else f"{number(summary.usd / 1e6)} MUSD", "C"],
        ["cost per endpoint", None if summary.usd is None else f"{number(summary.usd / found.endpoints)} USD", "C"],
        ["links on the longest path", summary.hops.diameter, "A"],
        ["links on the mean path", Cell(f"{summary.hops.mean:.3f}", summary.hops.mean), "A"],
        ["bisection at most, per direction", quantity(summary.bisection.bytes_per_s, "B/s"), "A"],
        ["bisection / half the endpoints", percent(summary.bisection.share), "A"],
        ["64 B to the nearest", quantity(summary.near_s, "s"), grade],
        ["64 B to the farthest", quantity(summary.far_s, "s"), grade],
    ]
    tables = [Table(("quantity", "value", "grade"), rows)]
    if summary.contention:
        patterns = list(dict.fromkeys(pattern for pattern, _ in summary.contention))
        routings = list(dict.fromkeys(routing for _, routing in summary.contention))
        tables.append(Table(("traffic", *routings), [
            [pattern, *(Cell(f"{summary.contention[pattern, r]:.2f}", summary.contention[pattern, r])
                        for r in routings)] for pattern in patterns
        ], "Busiest link over the busiest endpoint (1: the network adds nothing)"))  # fmt: skip
    return Section("The network", ["Counted on the graph, except prices and latencies, whose grade is their source's."],
                   tables)  # fmt: skip


def collectives_section(timed: Sequence[Timed], ranks: int) -> Section:
    """Times by size with their bands; the chart draws all kinds."""
    rows: list[list[Content]] = []
    for one in timed:
        fitted = one.timed.duration.fitted
        low_share, high_share, grade = evidence(fitted, one.kind, ranks)
        for size, seconds in zip(one.sizes.tolist(), one.seconds.tolist(), strict=True):
            low, high = seconds * low_share, seconds * high_share
            rows.append([one.kind.replace("_", "-"), Cell(quantity(size, "B"), size),
                         Cell(quantity(seconds, "s"), seconds),
                         f"{quantity(low, 's')} … {quantity(high, 's')}", Cell(quantity(size / seconds, "B/s"),
                         size / seconds), grade])  # fmt: skip
    head = ("collective", "size", "time", "P10 … P90", "size/time", "grade")
    text = f"{ranks} ranks; size is what one rank holds (the whole, for all-gather and reduce-scatter)."
    return Section("Collectives", [text], [Table(head, rows)], [Chart(_by_size(timed), _size_words(timed))])


def algorithms_section(found: Mapping[str, Array], sizes: Sequence[float], share: tuple[float, float, str]) -> Section:
    """All-reduce by algorithm and size; ``share``: band and grade of the measured one, from which they are scaled."""
    rows: list[list[Content]] = []
    for i, size in enumerate(sizes):
        seconds = {name: float(times[i]) for name, times in found.items()}
        best = min(seconds, key=lambda name: seconds[name])
        cells = [Cell(quantity(value, "s"), value) for value in seconds.values()]
        rows.append([Cell(quantity(size, "B"), size), *cells, best])
    text = (
        "The measured all-reduce with each algorithm's bytes and steps in place of what the library chose; nvls adds "
        f"in the node's switch and rings between nodes. P10 … P90: {share[0]:.2f} … {share[1]:.2f} of each time; grade "
        f"{worse(share[2])}."
    )
    return Section("All-reduce by algorithm", [text], [Table(("size", *found, "fastest"), rows)])


def _by_size(timed: Sequence[Timed]) -> Figure:
    data = [
        {"type": "scatter", "mode": "lines+markers", "name": one.kind.replace("_", "-"),
         "x": [size / 1e6 for size in one.sizes.tolist()],
         "y": [seconds * 1e3 for seconds in one.seconds.tolist()],
         "line": {"color": PALETTE[i % len(PALETTE)]}, "hovertemplate": "%{x:.4g} MB: %{y:.4g} ms"}
        for i, one in enumerate(timed)
    ]  # fmt: skip
    sizes, times = ([value for trace in data for value in trace[axis]] for axis in "xy")
    axes = {"xaxis": _axis("size, MB", **log_ticks(sizes)), "yaxis": _axis("time, ms", **log_ticks(times))}
    return {"data": data, "layout": _layout("Time of collectives by size", height=440, **axes)}


def _size_words(timed: Sequence[Timed]) -> str:
    parts = [f"{one.kind.replace('_', '-')} {quantity(float(one.seconds[-1]), 's')}" for one in timed]
    largest = quantity(float(timed[0].sizes[-1]), "B") if timed else ""
    return f"Time by size on logarithmic axes; at {largest}: {', '.join(parts)}."


def experts_section(found: Sequence[Expert], bands: Mapping[tuple[str, str], tuple[float, float, str]]) -> Section:
    """Dispatch and combine of DeepSeek-V3 on this network."""
    rows: list[list[Content]] = []
    for one in found:
        low, high, grade = bands[one.mode, one.way]
        seconds, rate = one.exchange.time_s, one.exchange.logical_bytes_per_s
        rows.append([one.mode.replace("_", " "), one.way, Cell(number(one.tokens), one.tokens),
                     Cell(quantity(seconds, "s"), seconds),
                     f"{quantity(low * seconds, 's')} … {quantity(high * seconds, 's')}",
                     Cell(quantity(rate, "B/s"), rate), grade])  # fmt: skip
    text = (
        "DeepSeek-V3's experts, balanced: FP8 out, BF16 back; normal kernels send a token once to each remote node. "
        "The bandwidth is the logical one that DeepEP prints."
    )
    head = ("mode", "way", "tokens", "time", "P10 … P90", "logical", "grade")
    return Section("Expert parallelism", [text], [Table(head, rows)])


def comparison_section(rows: Sequence[tuple[str, str, float, float, float]], size: float) -> Section:
    """Other networks between the same nodes: (kind, what it is, all-to-all s, contention, farthest 64 B s)."""
    table: list[list[Content]] = [
        [kind, Cell(quantity(seconds, "s"), seconds), Cell(f"{slow:.3f}", slow), Cell(quantity(far, "s"), far), what]
        for kind, what, seconds, slow, far in rows
    ]
    head = ("network", "all-to-all", "contention", "64 B far", "what it is")
    return Section("Other networks between the same nodes", [f"All-to-all of {quantity(size, 'B')} a rank."],
                   [Table(head, table)])  # fmt: skip


def traffic_section(topology: Topology, matrix: Array, loads: Loads, what: str) -> Section:
    """The matrix and what it does to links: the busiest as a table, both as heat maps where they are small enough."""
    rows: list[list[Content]] = [
        [name_of(a), name_of(b), Cell(quantity(moved, "B"), moved), Cell(quantity(seconds, "s"), seconds)]
        for a, b, moved, seconds in loads.busiest(8)
        if moved > 0
    ]
    charts = []
    if len(matrix) <= MOST_HEAT:
        labels = [name_of(node) for node in topology.endpoints]
        figure = heat_map(matrix.tolist(), labels, labels, f"Bytes between ranks: {what}", "to", "from", "B")
        charts.append(Chart(figure, f"Traffic matrix of {what}: {quantity(float(matrix.sum()), 'B')} in all."))
    if len(topology.graph) <= MOST_HEAT:
        charts.append(Chart(link_heat_map(loads, what), f"Seconds at line rate of every link under {what}."))
    head = ("from", "to", "moved", "at line rate")
    return Section("Busiest links", [f"Under {what}."], [Table(head, rows)], charts)


def heat_map(
    values: Sequence[Sequence[float | None]], x: Sequence[str], y: Sequence[str], title: str, across: str, down: str,
    unit: str,
) -> Figure:  # fmt: skip
    """A matrix in colours; None stays blank."""
    trace = {
        "type": "heatmap", "z": [list(row) for row in values], "x": list(x), "y": list(y), "colorscale": "Viridis",
        "hoverongaps": False, "zmin": 0, "colorbar": {"title": {"text": unit}},
        "hovertemplate": f"%{{y}} to %{{x}}: %{{z:.4g}} {unit}<extra></extra>",
    }  # fmt: skip
    axes = {"xaxis": _axis(across), "yaxis": _axis(down, autorange="reversed")}
    return {"data": [trace], "layout": _layout(title, height=560, **axes)}


def link_heat_map(loads: Loads, what: str) -> Figure:
    """Every directed link at its two ends, coloured by its seconds at line rate."""
    wires = loads.wires
    labels = [name_of(node) for node in wires.nodes]
    grid: list[list[float | None]] = [[None] * len(labels) for _ in labels]
    for tail, head, seconds in zip(wires.tail.tolist(), wires.head.tolist(), loads.seconds.tolist(), strict=True):
        grid[tail][head] = seconds * 1e3
    return heat_map(grid, labels, labels, f"Load of links: {what}", "to", "from", "ms")


def drawing(topology: Topology) -> Chart | None:
    """Nodes and links of a small network; None above :data:`MOST_DRAWN` nodes."""
    graph = topology.graph
    if len(graph) > MOST_DRAWN:
        return None
    where = positions(topology)
    xs: list[float | None] = []
    ys: list[float | None] = []
    for a, b in graph.edges:
        xs += [where[a][0], where[b][0], None]
        ys += [where[a][1], where[b][1], None]
    data: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "x": xs, "y": ys, "hoverinfo": "skip", "showlegend": False,
         "line": {"color": "rgba(128,128,128,0.35)", "width": 1}}
    ]  # fmt: skip
    for tier, name in _TIERS.items():
        nodes = [node for node, at in graph.nodes(data="tier") if at == tier]
        if nodes:
            data.append({
                "type": "scatter", "mode": "markers", "name": name, "x": [where[n][0] for n in nodes],
                "y": [where[n][1] for n in nodes], "text": [name_of(n) for n in nodes], "hovertemplate": "%{text}",
                "marker": {"color": PALETTE[tier if tier >= 0 else 4], "size": 7 if tier else 5,
                           "symbol": "square" if tier else "circle"},
            })  # fmt: skip
    axis = {"visible": False}
    found = topology.counts
    label = (
        f"{topology.name}: {found.endpoints} endpoints, {found.switches} switches, {found.links} cables between them."
    )
    round_ = {"scaleanchor": "x"} if len({tier for _, tier in graph.nodes(data="tier")}) == 1 else {}
    layout = _layout(topology.name, height=480, xaxis=axis, yaxis=axis | round_)
    return Chart({"data": data, "layout": layout}, label)


def positions(topology: Topology) -> dict[Node, tuple[float, float]]:
    """Tiers above one another; a network of one tier on a circle; cards that are joined directly bent into a bow."""
    graph = topology.graph
    tiers = sorted({tier for _, tier in graph.nodes(data="tier")})
    if len(tiers) == 1:
        ring = sorted(graph, key=lambda node: graph.nodes[node]["place"])
        angles = [2.0 * math.pi * i / len(ring) for i in range(len(ring))]
        return {node: (math.cos(angle), math.sin(angle)) for node, angle in zip(ring, angles, strict=True)}
    where: dict[Node, tuple[float, float]] = {}
    for tier in tiers:
        row = [node for node, at in graph.nodes(data="tier") if at == tier]
        for i, node in enumerate(row):
            where[node] = ((i + 0.5) / len(row), float(tier))
    for rank, node in enumerate(topology.endpoints):
        if any(other in where and graph.nodes[other]["kind"] == "endpoint" for other in graph.neighbors(node)):
            bow = math.sin(math.pi * (rank % topology.domain + 0.5) / topology.domain)
            where[node] = (where[node][0], -0.6 * bow)
    return where
