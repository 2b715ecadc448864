"""Wires as graphs: topologies, routing, what a traffic matrix does to them, and collectives on them.

The closed forms that predictions use are :mod:`costsim.timing.duration`'s; this package gives what they take for
granted (no contention, the calibrated path length) its measure on a graph, and agrees with them where both speak.
"""

#: ways to route; :mod:`costsim.network.routing` says what each does
ROUTINGS = ("ecmp", "static", "valiant")
