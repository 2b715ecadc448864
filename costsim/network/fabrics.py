"""Scale-out networks built switch by switch: fat trees of two and three layers, planes, Slim Fly, Dragonfly.

Every builder returns a graph of switches whose ``hosts`` stand for the endpoints. All links are alike.
"""

from __future__ import annotations

from typing import Any

from costsim.errors import OutOfRange


def _switch(graph: Any, node: Any, tier: int, place: float, hosts: int = 0, rate: float = 0.0, link: str = "") -> None:
    graph.add_node(node, kind="switch", tier=tier, place=place, hosts=hosts, host_bandwidth=rate, link=link)


def fat_tree_2(radix: int, link: str, bandwidth: float, leaves: int | None = None, plane: int = 0) -> Any:
    """Leaves with radix/2 hosts and radix/2 uplinks, spread over the spines: radix²/2 hosts at full size.

    Fewer ``leaves`` take as few spines as keep every uplink: spines = ⌈leaves·(radix/2)/radix⌉, rounded up to a
    divisor of the uplinks; leaf and spine are then joined by several cables.
    """
    import networkx as nx

    graph, half = nx.Graph(), radix // 2
    leaves = radix if leaves is None else leaves
    if not 1 <= leaves <= radix:
        raise OutOfRange(
            f"two layers of {radix}-port switches have 1 to {radix} leaves, {leaves} are needed; take fewer endpoints, "
            "a larger radix or three layers"
        )
    spines = 0 if leaves == 1 else next(n for n in range(-(-leaves // 2), half + 1) if half % n == 0)
    for leaf in range(leaves):
        _switch(graph, ("leaf", plane, leaf), 1, leaf / leaves, half, bandwidth, link)
    for spine in range(spines):
        _switch(graph, ("spine", plane, spine), 2, -1.0)
        for leaf in range(leaves):
            graph.add_edge(("leaf", plane, leaf), ("spine", plane, spine), link=link, bandwidth=bandwidth,
                           count=half // spines)  # fmt: skip
    return graph


def multi_plane(radix: int, planes: int, link: str, bandwidth: float) -> Any:
    """``planes`` two-layer fat trees that share no switch; NIC i of a node is a host of plane i
    [deepseek-isca-2025, sec. 5.1]."""
    import networkx as nx

    return nx.compose_all([fat_tree_2(radix, link, bandwidth, plane=plane) for plane in range(planes)])


def fat_tree_3(radix: int, link: str, bandwidth: float, pods: int | None = None) -> Any:
    """k-ary fat tree: pods of k/2 edge and k/2 aggregation switches, (k/2)² cores: k³/4 hosts at full size."""
    import networkx as nx

    graph, half = nx.Graph(), radix // 2
    pods = radix if pods is None else pods
    if not 1 <= pods <= radix:
        raise OutOfRange(
            f"three layers of {radix}-port switches have 1 to {radix} pods, {pods} are needed; take fewer endpoints "
            "or a larger radix"
        )
    for pod in range(pods):
        for i in range(half):
            _switch(graph, ("edge", pod, i), 1, (pod + i / half) / pods, half, bandwidth, link)
            _switch(graph, ("aggregation", pod, i), 2, (pod + i / half) / pods)
        for edge in range(half):
            for middle in range(half):
                graph.add_edge(("edge", pod, edge), ("aggregation", pod, middle), link=link, bandwidth=bandwidth,
                               count=1)  # fmt: skip
    # As many cores as the pods fill: aggregation switch i of every pod reaches the same group of cores.
    groups = max(1, -(-half * pods // radix))
    per_group = next(n for n in range(groups, half + 1) if half % n == 0)
    for i in range(half):
        for j in range(per_group):
            _switch(graph, ("core", i, j), 3, -1.0)
            for pod in range(pods):
                graph.add_edge(("aggregation", pod, i), ("core", i, j), link=link, bandwidth=bandwidth,
                               count=half // per_group)  # fmt: skip
    return graph


def slim_fly(q: int, hosts: int, link: str, bandwidth: float) -> Any:
    """The McKay–Miller–Širáň graph for a prime q = 4w ± 1: 2q² switches of degree (3q ∓ 1)/2, diameter 2.

    Switches (0, x, y) and (1, m, c) over the field of q elements; (0, x, y) – (0, x, y') where y − y' is in X,
    (1, m, c) – (1, m, c') where c − c' is in X', (0, x, y) – (1, m, c) where y = m·x + c. X holds the even powers of a
    primitive element and X' the odd ones; for q = 4w − 1 each takes half of both signs [slim-fly, sec. II-B].
    Raises BadInput where q is no such prime: counts do not need the graph.
    """
    import networkx as nx

    if q < 5 or any(q % n == 0 for n in range(2, int(q**0.5) + 1)):
        raise OutOfRange(f"slim-fly: q = {q} is not a prime from 5 on, and the graph is built for those; near: "
                       f"{_prime_below(q)}, {_prime_above(q)}")  # fmt: skip
    even, odd = generators(q)
    graph = nx.Graph()
    for side in (0, 1):
        for x in range(q):
            for y in range(q):
                _switch(graph, (side, x, y), 1, x / q, hosts, bandwidth, link)
    edge = {"link": link, "bandwidth": bandwidth, "count": 1}
    for x in range(q):
        for y in range(q):
            graph.add_edges_from((((0, x, y), (0, x, (y + step) % q)) for step in even), **edge)
            graph.add_edges_from((((1, x, y), (1, x, (y + step) % q)) for step in odd), **edge)
            graph.add_edges_from((((0, x, y), (1, m, (y - m * x) % q)) for m in range(q)), **edge)
    return graph


def generators(q: int) -> tuple[set[int], set[int]]:
    """(X, X') of a prime q: symmetric sets, X = −X, whose union covers the field without 0."""
    root = next(g for g in range(2, q) if len({pow(g, i, q) for i in range(q - 1)}) == q - 1)
    if q % 4 == 1:
        return {pow(root, i, q) for i in range(0, q - 1, 2)}, {pow(root, i, q) for i in range(1, q - 1, 2)}
    w = (q + 1) // 4
    even = {pow(root, i, q) for i in (*range(0, 2 * w - 1, 2), *range(2 * w - 1, 4 * w - 2, 2))}
    odd = {pow(root, i, q) for i in (*range(1, 2 * w, 2), *range(2 * w, 4 * w - 1, 2))}
    return even, odd


def _prime_below(q: int) -> int:
    return next((n for n in range(max(q - 1, 5), 4, -1) if all(n % d for d in range(2, int(n**0.5) + 1))), 5)


def _prime_above(q: int) -> int:
    return next(n for n in range(max(q + 1, 5), 2 * max(q, 5)) if all(n % d for d in range(2, int(n**0.5) + 1)))


def dragonfly(hosts: int, group_switches: int, global_ports: int, groups: int, link: str, bandwidth: float) -> Any:
    """Groups of fully joined switches; a group's a·h global ports reach the other groups in turn.

    Port k of group g goes to group g ± (1 + k mod (groups − 1)): one cable to every other group, what is over joins
    nearest groups a second time [dragonfly, sec. 3].
    """
    import networkx as nx

    ports = group_switches * global_ports
    if groups > ports + 1:
        raise OutOfRange(f"dragonfly: {groups} groups need {groups - 1} global ports a group; there are {ports}")
    graph = nx.Graph()
    edge = {"link": link, "bandwidth": bandwidth}
    for group in range(groups):
        members = [(group, i) for i in range(group_switches)]
        for i, member in enumerate(members):
            _switch(graph, member, 1, (group + i / group_switches) / groups, hosts, bandwidth, link)
        graph.add_edges_from(
            ((a, b) for i, a in enumerate(members) for b in members[i + 1 :]), **edge, count=1
        )  # fmt: skip
    used = [0] * groups
    for distance in _global_distances(groups, ports):
        for group in range(groups):
            other = (group + distance) % groups
            if used[group] >= ports or used[other] >= ports or (2 * distance == groups and group > other):
                continue
            a, b = (group, used[group] // global_ports), (other, used[other] // global_ports)
            used[group], used[other] = used[group] + 1, used[other] + 1
            if graph.has_edge(a, b):
                graph.edges[a, b]["count"] += 1
            else:
                graph.add_edge(a, b, **edge, count=1)
    return graph


def _global_distances(groups: int, ports: int) -> list[int]:
    """Group distances to join, the nearest again while ports are left."""
    if groups < 2:
        return []
    around = list(range(1, groups // 2 + 1))
    rounds = -(-ports // max(groups - 1, 1))
    return around * rounds
