"""`costsim network`: topologies and clusters as graphs: what they cost, how far apart ranks are, what traffic does."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costsim import units
from costsim.cli.catalogs import add_action, checked_action, kept
from costsim.cli.network_traffic import TRAFFICS, asked_traffic
from costsim.cli.output import finish
from costsim.cli.parser import add_choice, add_grid
from costsim.errors import BadInput, BadOption, OutOfRange, UnknownName
from costsim.network import ROUTINGS

if TYPE_CHECKING:
    from costsim.network.summary import Expert, Summary, Timed
    from costsim.network.topology import Array, Topology
    from costsim.report.document import Document, Section
    from costsim.spec.cluster import Cluster
    from costsim.spec.topology import TopologySpec
    from costsim.timing.device import Device

NAME = "network"
HELP = "topologies and clusters as graphs: cost, hops, bisection, link loads, collectives"
EXAMPLE = """
costsim network list
costsim network show mpft-64x8
costsim network show h800-8x400g-ib --ranks 64 --size 1MB,256MB --traffic dispatch --out network.html
"""
#: ranks and sizes shown where none are asked for
RANKS, SIZES = 64, "64kB,1MB,16MB,256MB,1GB"
#: most ranks whose traffic is routed in a few seconds
MOST_RANKS = 1024


def configure(parser: argparse.ArgumentParser) -> None:
    add_action(parser, "topology or cluster")
    group = parser.add_argument_group("show a cluster (sizes take lists)")
    add_grid(group, "--ranks", f"cards that take part, whole domains; default {RANKS}", maximum=MOST_RANKS, minimum=2)
    group.add_argument("--size", metavar="QUANTITY", default=SIZES, help=f"bytes a rank holds; default {SIZES}")
    add_choice(group, "--routing", ROUTINGS, "how shortest paths are shared")
    add_choice(group, "--scale-out", ("multi-plane", "multi-rail", "fat-tree-2", "fat-tree-3"),
               "another network between the same nodes")  # fmt: skip
    add_choice(group, "--traffic", TRAFFICS, "whose link loads are shown")
    group.add_argument(
        "--matrix", metavar="FILE", help="link loads of your own traffic: .csv or .npy, bytes [from, to]"
    )


def run(args: argparse.Namespace) -> int:
    from costsim.spec.catalog import CLUSTERS, TOPOLOGIES, load_cluster, load_topology, names

    topologies, clusters = names(TOPOLOGIES), names(CLUSTERS)
    if checked_action(args, NAME, "topology or cluster") == "list":
        return finish(args, _listed(kept([*topologies, *clusters], args.id, "topology or cluster")))
    name = str(args.id)
    key = name.strip().lower().replace("_", "-")
    if key in topologies or (name.endswith(".toml") and _is_topology(Path(name))):
        _refuse_cluster_options(args)
        return finish(args, _topology_page(load_topology(name)))
    if key not in clusters and not (name.endswith(".toml") and Path(name).is_file()):
        raise UnknownName("topology or cluster", name, [*topologies, *clusters])
    return finish(args, _cluster_page(args, load_cluster(name)))


def _is_topology(path: Path) -> bool:
    """Whether a user's file describes a topology: it has a kind."""
    from costsim.spec.base import read_toml

    return path.is_file() and "kind" in read_toml(path, "topology")


def _refuse_cluster_options(args: argparse.Namespace) -> None:
    given = {"--ranks": args.ranks, "--matrix": args.matrix, "--traffic": args.traffic, "--routing": args.routing,
             "--scale-out": args.scale_out}  # fmt: skip
    for flag, value in given.items():
        if value is not None:
            raise BadOption(f"{flag}: is for clusters; {args.id} is a topology (`costsim network list` names clusters)")


def _listed(ids: list[str]) -> Document:
    from costsim.network.build import counts, usd
    from costsim.report.document import Document, Section, Table
    from costsim.report.networks import catalog_section
    from costsim.spec.catalog import CLUSTERS, TOPOLOGIES, load_cluster, load_link, load_topology, names

    specs = [load_topology(name) for name in ids if name in names(TOPOLOGIES)]
    clusters = [load_cluster(name) for name in ids if name in names(CLUSTERS)]
    rows = [(spec.id, counts(spec), usd(spec, load_link)) for spec in specs]
    sections: list[Section] = [catalog_section(rows)] if rows else []
    if clusters:
        table = Table(("cluster", "cards", "in a domain", "inside", "between", "confidence"), [
            [c.id, c.devices, c.scale_up_domain, *(_wiring(c))] for c in clusters
        ])  # fmt: skip
        sections.append(Section("Clusters", ["How the cards of the cluster catalog are joined."], [table]))
    flat: list[dict[str, Any]] = [
        {"id": name, "type": "topology", "endpoints": found.endpoints, "switches": found.switches,
         "links": found.links, "usd": cost, "usd_per_endpoint": None if cost is None else cost / found.endpoints}
        for name, found, cost in rows
    ] + [{"id": c.id, "type": "cluster", "endpoints": c.devices, "scale_up_domain": c.scale_up_domain,
          "topology": c.topology} for c in clusters]  # fmt: skip
    title = f"{len(specs)} topologies, {len(clusters)} clusters"
    return Document(title, sections, {"networks": flat}, rows=flat)


def _wiring(cluster: Cluster) -> list[str]:
    wiring = cluster.topology
    return ["?", "?", "D"] if wiring is None else [wiring.scale_up, wiring.scale_out, wiring.confidence]


def _topology_page(spec: TopologySpec) -> Document:
    """A named topology; one that only its formula knows gets its counts."""
    from costsim.network.build import counts, topology, usd
    from costsim.network.summary import summarise
    from costsim.report.document import Document, Section
    from costsim.report.networks import catalog_section, drawing, summary_section
    from costsim.spec.catalog import load_link

    link, found = load_link(spec.link), counts(spec)
    notes = [text for text in (spec.notes, f"Link: {link.name}. {link.notes}") if text]
    payload: dict[str, Any] = {"topology": spec.model_dump(), "counts": found, "usd": _usd(usd(spec, load_link))}
    try:
        graph = topology(spec, load_link)
    except BadInput as error:
        section = catalog_section([(spec.id, found, usd(spec, load_link))])
        return Document(f"{spec.id}: {spec.name}", [Section("Not built", [str(error)]), section,
                        Section("Notes", notes)], payload | {"not_built": str(error)}, rows=[payload])  # fmt: skip
    summary = summarise(graph)
    sections = [summary_section(summary, link.confidence)]
    if chart := drawing(graph):
        sections.append(Section("Drawing", [], [], [chart]))
    sections.append(Section("Notes", notes))
    payload |= _summary_json(summary)
    return Document(f"{spec.id}: {spec.name}", sections, payload, rows=[{"id": spec.id, **_flat(summary)}])


def _usd(value: float | None) -> dict[str, Any] | None:
    """Prices are solved from published totals, which they give back to 2 %."""
    return None if value is None else {"value": value, "unit": "USD", "low": 0.98 * value, "high": 1.02 * value,
                                       "grade": "C"}  # fmt: skip


def _summary_json(summary: Summary) -> dict[str, Any]:
    contention: dict[str, dict[str, float]] = {}
    for (pattern, routing), value in summary.contention.items():
        contention.setdefault(pattern, {})[routing] = value
    return {
        "counts": summary.counts, "usd": _usd(summary.usd), "hops": summary.hops, "bisection": summary.bisection,
        "contention": contention, "latency_64_bytes_s": {"near": summary.near_s, "far": summary.far_s},
    }  # fmt: skip


def _flat(summary: Summary) -> dict[str, Any]:
    found = summary.counts
    return {"endpoints": found.endpoints, "switches": found.switches, "links": found.links, "usd": summary.usd,
            "diameter": summary.hops.diameter, "mean_hops": summary.hops.mean,
            "bisection_bytes_per_s": summary.bisection.bytes_per_s, "bisection_share": summary.bisection.share,
            "near_s": summary.near_s, "far_s": summary.far_s}  # fmt: skip


def _sizes(text: str) -> list[float]:
    """``1MB,256MB`` in bytes, rising."""
    sizes = sorted({units.parse(part.strip(), "bytes", "--size") for part in text.split(",")[:64]})
    if not 1.0 <= sizes[0] <= sizes[-1] <= 1e13:
        raise OutOfRange(f"--size {text[:60]}: sizes must be from 1 B to 10 TB")
    return sizes


def _cluster_page(args: argparse.Namespace, cluster: Cluster) -> Document:
    from costsim.calibration.store import device_for
    from costsim.network.build import cluster_topology
    from costsim.network.routing import link_loads
    from costsim.network.summary import all_reduces, collectives, expert_exchanges, summarise
    from costsim.report.document import Document, Section
    from costsim.report.networks import (
        algorithms_section,
        collectives_section,
        drawing,
        evidence,
        summary_section,
        traffic_section,
    )  # fmt: skip
    from costsim.spec.catalog import load_accelerator, load_link

    sizes, routing = _sizes(args.size), args.routing or "ecmp"
    if args.ranks is not None and len(args.ranks) != 1:
        raise BadOption("--ranks: give one number; for several, ask once each")
    chip = load_accelerator(cluster.accelerator)
    ranks = args.ranks[0] if args.ranks else _default_ranks(cluster)
    graph = cluster_topology(cluster, load_link, ranks, args.scale_out)
    device = device_for(chip.model_copy(update={"dies": 1}), cluster)
    whole = cluster_topology(cluster, load_link, None, args.scale_out)
    summary = summarise(whole)
    timed = collectives(graph, device, sizes, routing)
    experts = expert_exchanges(graph, device, routing)
    what, matrix = asked_traffic(args.matrix, args.traffic, sizes[-1], graph)
    loads = link_loads(graph, matrix, routing)
    wiring = cluster.topology
    grade = (wiring.confidence if wiring else "D")[0]
    sections: list[Section] = [summary_section(summary, grade), collectives_section(timed, ranks)]
    payload: dict[str, Any] = {"cluster": cluster.id, "ranks": ranks, "routing": routing,
                               "topology": wiring, **_summary_json(summary)}  # fmt: skip
    by_algorithm = all_reduces(graph, device, sizes, routing)
    sections.append(
        algorithms_section(by_algorithm, sizes, evidence(device.law("all_reduce", "bytes"), "all_reduce", ranks))
    )
    payload["all_reduce_s"] = {"sizes_bytes": sizes, **by_algorithm}
    rows = _timed_rows(timed, ranks)
    payload["collectives"] = rows
    if experts:
        section, found = _experts(experts, device, ranks)
        sections.append(section)
        payload["expert_parallel"] = found
    if ranks > graph.domain:
        section, others = _others(cluster, ranks, device, sizes[-1], routing)
        sections.append(section)
        payload["other_networks"] = others
    sections.append(traffic_section(graph, matrix, loads, what))
    payload["busiest_links"] = _links_json(loads.busiest(16), what)
    if matrix_time := _own_time(args, graph, device, matrix, routing):
        sections.append(Section("Your traffic", [matrix_time["text"]]))
        payload["traffic_time_s"] = matrix_time["metric"]
    if chart := drawing(graph):
        sections.append(Section("Drawing", [f"The {ranks} ranks that take part."], [], [chart]))
    sections.append(Section("Notes", [text for text in (cluster.notes or cluster.network, *_remarks(cluster)) if text]))
    return Document(f"{cluster.id}: {cluster.name}", sections, payload, rows=rows)


def _default_ranks(cluster: Cluster) -> int:
    domain = cluster.scale_up_domain
    if domain > RANKS:
        return min(domain, cluster.devices)
    return min(max(RANKS // domain, 1) * domain, cluster.devices)


def _remarks(cluster: Cluster) -> list[str]:
    from costsim.spec.catalog import load_accelerator

    alone = (
        "Times are of a collective alone on its fabrics; routing ecmp shares paths perfectly, as adaptive routing "
        "does at its best. Bands are those of the collective's law."
    )
    notes = [alone]
    wiring = cluster.topology
    if load_accelerator(cluster.accelerator).dies > 1:
        notes.append("A rank is a card here, all its dies together; parallel plans count dies.")
    if wiring is not None and wiring.confidence == "D":
        notes.append("How this cluster's network is wired is an assumption (grade D).")
    return notes


def _timed_rows(timed: list[Timed], ranks: int) -> list[dict[str, Any]]:
    from costsim.report.networks import evidence

    rows = []
    for one in timed:
        fitted, found = one.timed.duration.fitted, one.timed.factors
        low, high, grade = evidence(fitted, one.kind, ranks)
        for size, seconds in zip(one.sizes.tolist(), one.seconds.tolist(), strict=True):
            rows.append({
                "collective": one.kind, "size_bytes": size, "value": seconds, "unit": "s",
                "low": seconds * low, "high": seconds * high, "grade": grade,
                "contention_up": found.up, "contention_out": found.out, "path_s": found.latency_s,
            })  # fmt: skip
    return rows


def _experts(experts: list[Expert], device: Device, ranks: int) -> tuple[Section, list[dict[str, Any]]]:
    from costsim.report.networks import evidence, experts_section

    bands: dict[tuple[str, str], tuple[float, float, str]] = {}
    rows: list[dict[str, Any]] = []
    for one in experts:
        kind = f"{one.way}_ll" if one.mode == "low_latency" else one.way
        low, high, grade = bands[one.mode, one.way] = evidence(device.law(kind, "bytes"), kind, ranks)
        seconds = one.exchange.time_s
        rows.append({"mode": one.mode, "way": one.way, "tokens": one.tokens, "value": seconds, "unit": "s",
                     "low": low * seconds, "high": high * seconds, "grade": grade,
                     "logical_bytes_per_s": one.exchange.logical_bytes_per_s,
                     "contention_out": one.factors.out})  # fmt: skip
    return experts_section(experts, bands), rows


def _others(
    cluster: Cluster, ranks: int, device: Device, size: float, routing: str
) -> tuple[Section, list[dict[str, Any]]]:
    """The all-to-all on every network that could join the same nodes."""
    from costsim.network.build import cluster_topology, scale_out_kinds
    from costsim.network.summary import collectives
    from costsim.report.networks import comparison_section
    from costsim.spec.catalog import load_link

    rows, flat = [], []
    for kind, what in scale_out_kinds().items():
        graph = cluster_topology(cluster, load_link, ranks, kind)
        (timed,) = collectives(graph, device, [size], routing, ("all_to_all",))
        seconds, found = float(timed.seconds[0]), timed.timed.factors
        far = max(graph.latency_s(graph.endpoints[0], other) for other in graph.endpoints[-graph.domain :])
        rows.append((kind, what, seconds, found.out, far))
        flat.append({"network": kind, "all_to_all_s": seconds, "contention_out": found.out, "far_s": far})
    return comparison_section(rows, size), flat


def _own_time(
    args: argparse.Namespace, graph: Topology, device: Device, matrix: Array, routing: str
) -> dict[str, Any] | None:
    """Seconds of the user's matrix, sent as an all-to-all's messages are."""
    if args.matrix is None:
        return None
    from costsim.network.summary import time_matrix
    from costsim.report.networks import evidence

    timed = time_matrix(graph, device, matrix, routing)
    seconds = float(timed.time_s)
    low, high, grade = evidence(timed.duration.fitted, "all_to_all", len(matrix))
    metric = {"value": seconds, "unit": "s", "low": low * seconds, "high": high * seconds, "grade": grade}
    band = f"{units.format_si(low * seconds, 's')} … {units.format_si(high * seconds, 's')}"
    text = f"Sent as an all-to-all's messages: {units.format_si(seconds, 's')} ({band}, grade {grade})."
    return {"text": text, "metric": metric}


def _links_json(busiest: list[tuple[Any, Any, float, float]], what: str) -> dict[str, Any]:
    from costsim.report.networks import name_of

    return {"traffic": what, "links": [
        {"from": name_of(a), "to": name_of(b), "moved_bytes": moved, "line_rate_s": seconds}
        for a, b, moved, seconds in busiest
    ]}  # fmt: skip
