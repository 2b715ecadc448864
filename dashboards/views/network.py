"""Networks: a topology or cluster as a graph: cost, hops, bisection, collectives, link loads."""

from __future__ import annotations

from typing import Any

from costsim.network import ROUTINGS
from costsim.spec.catalog import CLUSTERS, names
from dashboards import catalog
from dashboards.controls import MORE, Control, options_of
from dashboards.page import Page, Question
from dashboards.patterns import QUANTITIES

CLUSTER, TOPOLOGY = "cluster", "topology"


def subject(values: dict[str, Any]) -> list[str]:
    """``network show ID`` and the options of clusters."""
    mode = PAGE.question.mode_of(values)
    rest = [control for control in PAGE.question.controls if control.name not in ("kind", "cluster_id", "topology_id")]
    return ["show", str(values.get(f"{mode}_id")), *options_of(rest, values, mode, str)]


CONTROLS = (
    Control("kind", "k", "word", "Show", CLUSTER, (CLUSTER, TOPOLOGY)),
    Control("cluster_id", "c", "word", "Cluster", {CLUSTER: "h800-8x400g-ib"}, catalog.clusters, modes=(CLUSTER,)),
    Control("topology_id", "t", "word", "Topology", {TOPOLOGY: "hgx-h800"},
            lambda: tuple(name for name in catalog.networks() if name not in names(CLUSTERS)), modes=(TOPOLOGY,)),
    Control("ranks", "n", "whole", "Ranks", {CLUSTER: 64}, span=(2, 1024), modes=(CLUSTER,)),
    Control("traffic", "tr", "word", "Traffic", None,
            ("all_to_all", "all_reduce", "all_gather", "reduce_scatter", "p2p", "dispatch", "combine"),
            modes=(CLUSTER,)),
    Control("size", "sz", "text", "Bytes that a rank holds", None, pattern=QUANTITIES, help="64kB,1MB,256MB",
            modes=(CLUSTER,), fold=MORE),
    Control("routing", "r", "word", "Routing of paths", None, tuple(ROUTINGS), modes=(CLUSTER,), fold=MORE),
    Control("scale_out", "so", "word", "Another network between the nodes", None,
            ("multi-plane", "multi-rail", "fat-tree-2", "fat-tree-3"), modes=(CLUSTER,), fold=MORE),
)  # fmt: skip

PAGE = Page(
    id="network", title="Networks", icon=":material/hub:", group="Evidence", order=105,
    lead="Topologies and clusters as graphs: what they cost, how far apart ranks are, what traffic does to links.",
    question=Question(
        verb="network", mode="kind", subject=subject, long=True,
        controls=CONTROLS,
    ),
)  # fmt: skip
