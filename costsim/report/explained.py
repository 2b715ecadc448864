"""An Explanation as a Document: the tree of the number, the laws behind its leaves, and the inputs they rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from costsim.errors import UnknownName
from costsim.predict.explain import Explained, Explanation, Node, datasheet, system
from costsim.report.document import Cell, Chart, Content, Document, Section, Table, cited
from costsim.report.figures import icicle
from costsim.report.pages import GRADES
from costsim.report.words import band, label, number, percent, quantity, value_text
from costsim.version import __version__

#: columns of a tree that stay where nothing stands in them: the term, its value, its share
_ALWAYS = 3
#: share of a number below which a longer report does not list a term
_LISTED = 0.005
#: share of a number that no measurement tells from nothing
_DUST = 1e-9


def explained_document(found: Explanation, op: str | None = None) -> Document:
    """The whole explanation, or with ``op`` all that is known of the leaves whose name contains it."""
    leaves = [leaf for leaf in found.tree.leaves() if leaf.facts.get("law")]
    if op is not None:
        leaves = [leaf for leaf in leaves if op.lower() in leaf.name.lower()]
        if not leaves or not op.strip():
            raise UnknownName("op", op, list(dict.fromkeys(leaf.name for leaf in found.tree.leaves())))
    first = f"{found.name} = {value_text(found.name, found.metric)}"
    span = band(found.name, found.metric)
    paragraph = f"{found.of}. P10 to P90: {span}." if span else f"{found.of}."
    chart = Chart(tree_figure(found.tree, found.name, found.unit), f"{first}: every term by its share.")
    sections = [] if op is not None else [Section("", [paragraph], [_tree_table(found)], [chart])]
    if op is not None:
        sections += [_leaf_section(leaf, found) for leaf in leaves]
    elif leaves:
        sections += [_law_section(leaves), _evidence_section(leaves)]
    sections.append(_inputs_section(found))
    payload = found.json() | {"version": __version__}
    if op is not None:
        payload["ops"] = [leaf.json(found.tree.value) for leaf in leaves]
    rows = [_flat(leaf, found.tree.value) for leaf in (leaves if op is not None else found.tree.leaves())]
    return Document(f"{first}, grade {found.metric.grade}", sections, payload, rows=rows)


def tree_document(found: Explained) -> Document:
    """A metric of a report as a tree and as a figure that opens by clicking."""
    title = f"{found.name} = {value_text(found.name, found.metric)}"
    span = band(found.name, found.metric)
    paragraph = f"{found.of}. P10 to P90: {span}." if span else f"{found.of}."
    chart = Chart(tree_figure(found.tree, found.name, found.unit), f"{title}: every term by its share.")
    sections = [Section("", [paragraph], [_tree_table(found)], [chart])]
    if found.report.notes:
        sections.append(Section("Notes", found.report.notes))
    rows = [_flat(leaf, found.tree.value) for leaf in found.tree.leaves()]
    return Document(f"{title}, grade {found.metric.grade}", sections, found.json() | {"version": __version__},
                    rows=rows)  # fmt: skip


def cost_sections(found: Sequence[Explained]) -> list[Section]:
    """Where numbers of a longer report come from: each as a figure that opens by clicking, and the tree as a table."""
    sections = []
    for number_, one in enumerate(found):
        first = f"{label(one.name)} = {value_text(one.name, one.metric)}"
        chart = Chart(
            tree_figure(one.tree, label(one.name), one.unit),
            f"{first}, every term by its share; a click on a term opens it, a click on the top term goes back.",
        )
        words = (
            f"{first}: {one.of}. The table says what binds each term, how far above the least time by datasheet it is, "
            "and whose kernels its law was measured on."
        )
        heading, table = f"Where it comes from: {label(one.name)}", _tree_table(one, _LISTED)
        depth = 1 if number_ == 0 else 2
        sections.append(Section(heading, [words], [table], [chart], one.report.sources, depth))
    return sections


def bridge_terms(tree: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The first level of a tree's JSON as (name, value), without what rounding left of terms that cancel."""
    least = _DUST * abs(float(tree["value"]))
    return [(str(term["name"]), float(term["value"])) for term in tree.get("children", ())
            if abs(float(term["value"])) > least]  # fmt: skip


def tree_figure(tree: Node, name: str, unit: str) -> dict[str, Any]:
    """The tree as an icicle; terms below zero cannot be drawn and are left out, so a term is the sum of those drawn."""
    terms: list[tuple[str, str, str, float]] = []

    def add(node: Node, key: str, parent: str) -> float:
        at = len(terms)
        terms.append((key, parent, node.name, node.value))
        drawn = [add(child, f"{key}/{number_}", key) for number_, child in enumerate(node.children) if child.value > 0]
        value = sum(drawn) if drawn else node.value
        terms[at] = (key, parent, node.name if parent else name, value)
        return value

    add(tree, name, "")
    return icicle(terms, f"Where {name} comes from", unit)


def walk(node: Node, depth: int = 0) -> Iterator[tuple[int, Node]]:
    """Every node under its parent, largest first."""
    yield depth, node
    for child in sorted(node.children, key=lambda child: -child.value):
        yield from walk(child, depth + 1)


def _tree_table(found: Explained, least: float = 0.0) -> Table:
    """The tree as rows, largest first; terms below ``least`` of the whole are counted, not listed."""
    rows: list[list[Content]] = []
    left = 0
    for depth, node in walk(found.tree):
        facts = node.facts
        if abs(node.value) < least * abs(found.tree.value):
            left += 1
            continue
        above = facts.get("above_light")
        rows.append([
            f"{'· ' * depth}{node.name}", Cell(quantity(node.value, found.unit), node.value),
            Cell(percent(node.value / found.tree.value), node.value / found.tree.value) if found.tree.value else None,
            facts.get("bound", ""), Cell(f"{above:.2f}", above) if above else None,
            facts.get("grade", ""), facts.get("measured_on", ""),
        ])  # fmt: skip
    caption = f"{left} terms below {percent(least)} are drawn, not listed; `costsim explain` has all" if left else ""
    names = ("term", "value", "share", "bound by", "× light", "grade", "law from")
    kept = [i for i in range(len(names)) if i < _ALWAYS or any(row[i] not in ("", None) for row in rows)]
    return Table([names[i] for i in kept], [[row[i] for i in kept] for row in rows], caption)


def _law_section(leaves: list[Node]) -> Section:
    """Seconds of one execution of each op, term by term."""
    rows: list[list[Content]] = []
    for leaf in leaves:
        facts = leaf.facts
        times = facts["count"] * facts["times"]
        seconds = [facts["each_s"], *facts["terms"].values(), facts["light_s"]]
        cells = [Cell(quantity(value, "s"), value) for value in seconds]
        rows.append([leaf.name, Cell(number(times), times), *cells, number(facts["correction"], 3)])
    text = (
        "One execution: overhead, compute and memory of a kernel; latency and line time inside and across nodes of a "
        "transfer. Correction: what the measured grid says on top of the law. Light: the datasheet's least time."
    )
    head = ("op", "times", "each", "overhead", "compute / up", "memory / out", "light", "correction")
    return Section("One execution of each op", [text], [Table(head, rows)])


def _evidence_section(leaves: list[Node]) -> Section:
    """Each law once: its points and held-out error, and its parameters."""
    laws = {f"{leaf.facts['family']}/{leaf.facts['dtype']}": leaf.facts for leaf in leaves}
    rows: list[list[Content]] = [
        [key, facts["points"],
         *(Cell(percent(facts[name]), facts[name]) for name in ("held_out_median_ape", "held_out_p90_ape")),
         f"{facts['p10_ratio']:.2f}–{facts['p90_ratio']:.2f}", facts["grade"], facts["measured_on"],
         cited(facts["sources"])]
        for key, facts in laws.items()
    ]  # fmt: skip
    head = ("family/dtype", "n", "median", "P90", "band", "grade", "measured on", "sources")
    parameters: list[list[Content]] = [
        [key, facts["law"], parameters_text(facts["parameters"])] for key, facts in laws.items()
    ]
    return Section("Laws and the points behind them", [GRADES], [
        Table(head, rows), Table(("family/dtype", "law", "parameters"), parameters)])  # fmt: skip


def parameters_text(parameters: Mapping[str, float]) -> str:
    """``overhead 3.1 µs, efficiency 0.79``: latencies with their unit, the rest as numbers."""
    out = []
    for name, value in parameters.items():
        text = quantity(value, "s") if name.endswith("_s") else number(value, 3)
        out.append(f"{name.removesuffix('_s').replace('_', ' ')} {text}")
    return ", ".join(out)


def _leaf_section(leaf: Node, found: Explanation) -> Section:
    """One op, a line for each thing known of it."""
    facts = leaf.facts
    rows: list[list[Content]] = [
        [f"{found.name}, this op", f"{quantity(leaf.value, found.unit)} ({percent(leaf.value / found.tree.value)})"]
    ]
    rows += [[name.replace("_", " "), _text(name, value)] for name, value in facts.items() if name != "parameters"]
    rows.insert(rows.index(next(row for row in rows if row[0] == "law")) + 1,
                ["parameters", parameters_text(facts["parameters"])])  # fmt: skip
    return Section(leaf.name, (), [Table(("what", "value"), rows)])


def _text(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key.removesuffix('_s')} {_text(key, each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "–"
    if not isinstance(value, (int, float)):
        return "–" if value is None else str(value)
    if name.endswith("_s"):
        return quantity(value, "s")
    if name.endswith("bytes"):
        return quantity(value, "B")
    return percent(value) if name.endswith("_ape") else quantity(value, "FLOP") if name == "flop" else number(value)


def _inputs_section(found: Explanation) -> Section:
    """Datasheet fields, system constants and the price that the number rests on."""
    rows: list[list[Content]] = [
        [f"datasheet: {entry['field']}", entry["text"], entry["confidence"], cited(entry["source"])]
        for entry in datasheet(found.setting, found.tree)
    ]
    known = system(found.setting)
    rows += [[f"system: {name}", _text(name, value), "", cited(known["source"])]
             for name, value in known.items() if name != "source"]  # fmt: skip
    price = found.report.inputs.get("price")
    if price is not None:
        rows.append([f"price: {price['id']}", f"{price['text']} ({number(price['usd_per_h'])} USD/h)", "", ""])
    return Section("What it rests on", list(found.report.notes),
                   [Table(("input", "value", "confidence", "source"), rows)])  # fmt: skip


def _flat(leaf: Node, total: float) -> dict[str, Any]:
    facts = leaf.facts
    names = ("family", "dtype", "count", "each_s", "bound", "flop", "bytes", "law", "law_s", "correction", "light_s",
             "above_light", "grade", "points", "held_out_median_ape", "held_out_p90_ape", "measured_on")  # fmt: skip
    return {"term": leaf.name, "value": leaf.value, "share": leaf.value / total if total else None,
            **{name: facts.get(name) for name in names}}  # fmt: skip
