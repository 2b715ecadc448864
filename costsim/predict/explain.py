"""Explain: one metric of a serving question as a tree whose leaves sum to it, each leaf with all that stands behind it.

step = pipeline stages · (Σ ops of every part + transfers that nothing hides + drafts) + host. Metrics that are
proportional to a step (TPOT, USD, joules) carry the same tree, scaled; rates and utilisations show the step
they follow from. Memory metrics are sums of bytes by kind of tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from costsim.errors import UnknownName
from costsim.physics.memory import weights_by_kind
from costsim.physics.op import Wire
from costsim.predict.explain_ops import op_facts, plain, wire_facts
from costsim.predict.inference import Load, predict_inference
from costsim.predict.phase import Timed
from costsim.predict.phases import Answer, Setting, decode, prefill, setting_for
from costsim.predict.report import Metric, Report
from costsim.predict.steady import serve
from costsim.spec.accelerator import PEAK_OF, Accelerator
from costsim.spec.cluster import Cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import PrefillLoad, ServingLoad, ServingPlan
from costsim.spec.price import Price

#: metrics that fall as the step grows, or need no time at all: their tree is that of the step in seconds
_NOT_ADDITIVE = ("tokens_per_s", "output_tokens_per_s", "mfu", "mbu", "flop_per_token", "prefill_share", "busy_share")
#: transfers that a plan may hide behind compute
_HIDDEN = ("dispatch", "combine")


@dataclass(frozen=True)
class Node:
    """A term of a sum: ``value`` is the sum of its children where it has any. ``facts`` say where a leaf comes from."""

    name: str
    value: float
    children: tuple[Node, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def leaves(self) -> Iterator[Node]:
        """Every term without children, in order."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def scaled(self, factor: float, name: str | None = None) -> Node:
        """The same tree in another unit."""
        children = tuple(child.scaled(factor) for child in self.children)
        return replace(self, name=name or self.name, value=self.value * factor, children=children)

    def json(self, total: float) -> dict[str, Any]:
        share = self.value / total if total else None
        return {"name": self.name, "value": self.value, "share": share, "facts": dict(self.facts),
                "children": [child.json(total) for child in self.children]}  # fmt: skip


@dataclass(frozen=True)
class Explained:
    """``tree`` sums to ``metric`` in ``unit``, or, for rates, to the time they follow from (``of`` says how)."""

    name: str
    metric: Metric
    tree: Node
    unit: str
    of: str
    report: Report

    def beneath(self) -> dict[str, Any]:
        """What else stands under the tree."""
        return {}

    def json(self) -> dict[str, Any]:
        return {
            "metric": self.name, **self.metric.json(), "of": self.of, "tree_unit": self.unit,
            "tree": self.tree.json(self.tree.value), "inputs": dict(self.report.inputs), **self.beneath(),
            "notes": list(self.report.notes), "sources": list(self.report.sources),
        }  # fmt: skip


@dataclass(frozen=True)
class Explanation(Explained):
    """A serving question asked anew: with the datasheet fields and system constants that its times rest on."""

    setting: Setting

    def beneath(self) -> dict[str, Any]:
        return {"datasheet": datasheet(self.setting, self.tree), "system": system(self.setting)}


def explain_inference(
    model: ModelSpec, chip: Accelerator, plan: ServingPlan, load: Load, metric: str,
    price: Price | None = None, cluster: Cluster | None = None,
) -> Explanation:  # fmt: skip
    """The metric of one question as a tree. Raises what :func:`predict_inference` does, and for an unknown metric."""
    report = predict_inference(model, chip, plan, load, price, cluster)
    setting = setting_for(model, chip, plan, cluster)
    if metric in report.memory and metric != "capacity_bytes":
        found = Metric(report.memory[metric], "B", None, None, "A")
        tree = _memory_tree(setting, load, report, metric)
        return Explanation(metric, found, tree, "B", "sum of bytes on the busiest rank", report, setting)
    if metric not in report.metrics:
        raise UnknownName("metric", metric, [*report.metrics, *(m for m in report.memory if m != "capacity_bytes")])
    found = report.metrics[metric]
    tree, of = _serving_tree(setting, load, metric, found) if isinstance(load, ServingLoad) else (
        _phase_tree(setting, load, metric, found))  # fmt: skip
    unit = "s" if metric.startswith(_NOT_ADDITIVE) else found.unit
    return Explanation(metric, found, tree, unit, of, report, setting)


def _phase_tree(setting: Setting, load: Load, metric: str, found: Metric) -> tuple[Node, str]:
    """Prefill or decode: everything is a multiple of its step."""
    answer = prefill(setting, load) if isinstance(load, PrefillLoad) else decode(setting, load)  # type: ignore[arg-type]
    tree = step_tree(answer)
    if metric == "usd_per_mtok_cached":
        text = "hourly price · seconds that the KV of a token takes on the scale-out network"
        return Node("bring cached KV over the network", found.value, facts={"formula": text}), text
    if metric.startswith(_NOT_ADDITIVE):
        return tree, f"{found.value:.6g} {found.unit} follows from a step of {tree.value:.6g} s".replace("  ", " ")
    return tree.scaled(found.value / tree.value, metric), _of(metric)


def _serving_tree(setting: Setting, load: ServingLoad, metric: str, found: Metric) -> tuple[Node, str]:
    """A closed loop: TPOT holds a decode step and its share of others' prefill, TTFT a prefill and half a step."""
    blend = serve(setting, load)
    p, d = step_tree(blend.prefill, "prefill step"), step_tree(blend.decode, "decode step")
    if metric in ("usd_per_mtok_input", "joules_per_token_input"):
        return p.scaled(found.value / p.value, metric), _of(metric)
    if metric in ("usd_per_mtok_output", "joules_per_token_output"):
        return d.scaled(found.value / d.value, metric), _of(metric)
    if metric == "usd_per_mtok_cached":
        return Node("bring cached KV over the network", found.value), "price of the transfer"
    if metric == "decode_step_s":
        return d, "one decode step"
    if metric.startswith("itl"):
        return d.scaled(found.value / d.value, metric), "a decode step, with or without a prompt in it"
    if metric == "e2e_s":
        steps = float(load.osl * load.mean) / plain(blend.decode.tokens_per_step)
        terms = _within(found.value, [d.scaled(steps, "decode steps of the answer")])
        around = Node("first token and prompts of others", found.value - terms[0].value)
        return Node(metric, found.value, (*terms, around)), "decode steps + first token + others' prefill"
    if metric.startswith("ttft"):
        terms = _within(found.value, [p.scaled(1.0, "own prefill")])
        rest = found.value - terms[0].value
        if rest > 1e-9 * found.value:
            text = "iterations under way, prompts before it, the frontend, and places in the KV cache"
            terms.append(Node("waiting", rest, facts={"formula": text}))
        return Node(metric, found.value, tuple(terms)), "own prefill + waiting, of the simulated loop"
    tpot = found.value if metric == "tpot_s" else plain(blend.metrics["tpot_s"][0])
    own = _within(tpot, [d.scaled(1.0 / plain(blend.decode.tokens_per_step), "decode step per kept token")])
    others = max(tpot - own[0].value, 0.0)
    terms = [*own, p.scaled(others / p.value, "prefill of other requests, while this one waits")]
    tree = Node("tpot_s", tpot, tuple(terms))
    what = "decode step per token + others' prefill"
    return tree, what if metric == "tpot_s" else f"{found.value:.6g} {found.unit} follows from TPOT: {what}"


def _within(whole: float, nodes: list[Node]) -> list[Node]:
    """The nodes, shrunk together where they exceed the whole: the loop's mean batch can be below the closed form's."""
    total = sum(node.value for node in nodes)
    return nodes if total <= whole else [node.scaled(whole / total, node.name) for node in nodes]


def _of(metric: str) -> str:
    if metric.startswith("usd"):
        return "hourly price · seconds of the step / tokens of the step"
    if metric.startswith("joules"):
        return "watts at the wall · seconds of the step / tokens of the step"
    return "seconds of the step / tokens kept" if metric == "tpot_s" else "sum over the step"


def step_tree(answer: Answer, name: str = "step") -> Node:
    """The step in seconds: parts of the layer, exposed transfers, drafts, host; stages of the pipeline in turn."""
    phase, device = answer.phase, answer.setting.device
    times = answer.micro_batches * plain(answer.setting.layout.pp)
    parts: dict[str, list[Node]] = {}
    for timed in phase.ops:
        gap = plain(phase.gap(timed))
        seconds = (plain(timed.each.time_s) + gap) * plain(timed.item.count) * times * answer.at_once
        facts = op_facts(timed, device) | {"times": times, "gap_s": gap}
        parts.setdefault(timed.item.part, []).append(Node(timed.item.name, seconds, facts=facts))
    nodes = [Node(part, sum(leaf.value for leaf in leaves), tuple(leaves)) for part, leaves in parts.items()]
    always = [_wire_leaf(t, answer, times, 1.0) for t in phase.wires if t.item.part not in _HIDDEN]
    exchange = [t for t in phase.wires if t.item.part in _HIDDEN]
    whole = plain(answer.step.total_s) * plain(answer.setting.layout.pp)
    alone = sum(plain(t.total_s) for t in exchange) * times
    seen = whole - sum(node.value for node in [*nodes, *always])
    share = max(seen, 0.0) / alone if alone else 0.0
    wires = [*always, *(_wire_leaf(t, answer, times, share) for t in exchange)]
    if wires:
        nodes.append(Node("communication that nothing hides", sum(wire.value for wire in wires), tuple(wires)))
    drafts = plain(answer.draft_s) * plain(answer.setting.layout.pp)
    if drafts:
        nodes.append(Node("MTP drafts", drafts, facts={"formula": "one module and the head for each drafted token"}))
    host = plain(answer.step_s) - whole - drafts
    nodes.append(Node("host between steps", host, facts={"formula": "system.step_host · pipeline stages"}))
    return Node(name, plain(answer.step_s), tuple(nodes))


def _wire_leaf(timed: Timed, answer: Answer, times: float, exposed: float) -> Node:
    assert isinstance(timed.item, Wire)
    alone = plain(timed.total_s) * times
    facts = wire_facts(timed, answer.setting.device) | {"times": times, "alone_s": alone, "exposed_share": exposed}
    return Node(timed.item.name, alone * exposed, facts=facts)


def _memory_tree(setting: Setting, load: Load, report: Report, metric: str) -> Node:
    """Bytes on the busiest rank; weights by kind of tensor."""
    drafts = plain(getattr(load, "mtp_tokens", 0.0)) > 0
    kinds = {kind: plain(value) for kind, value in weights_by_kind(setting.model, setting.layout, drafts).items()}
    terms = {
        name: Node(name, value) for name, value in report.memory.items() if not name.startswith(("total", "capacity"))
    }
    children = tuple(Node(f"{kind} weights", value) for kind, value in kinds.items() if value > 0)
    terms["weights_bytes"] = Node("weights_bytes", report.memory["weights_bytes"], children)
    if metric == "total_bytes":
        return Node(metric, report.memory[metric], tuple(terms.values()))
    return terms[metric]


def datasheet(setting: Setting, tree: Node) -> list[dict[str, Any]]:
    """Datasheet fields that the leaves rest on, with their sources."""
    facts = [leaf.facts for leaf in tree.leaves()]
    names = {PEAK_OF[f["dtype"]] for f in facts if f.get("dtype") in PEAK_OF}
    names |= {"memory_bandwidth", "cores"} if names else {"memory"}
    if any("up_bytes" in f for f in facts):
        names |= {"scale_up_bandwidth", "scale_up_domain", "scale_out_bandwidth"}
    return [
        {"field": name, "value": datum.value, "unit": datum.unit, "text": datum.text, "source": list(datum.sources),
         "confidence": datum.confidence}
        for name, datum in setting.chip.datasheet.items() if name in names
    ]  # fmt: skip


def system(setting: Setting) -> dict[str, Any]:
    """System constants of the backend with their sources."""
    known = setting.system
    names = ("kernel_gap_s", "step_host_s", "overlap_slowdown", "comm_sm_share", "gemm_contention")
    return {name: getattr(known, name) for name in names} | {"source": list(known.sources)}
