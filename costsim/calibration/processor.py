"""Where the fit of a processor's laws starts and how far it may go: no tiles, and memory far behind the caches."""

from __future__ import annotations

from costsim.timing.laws import AnyLaw, Cached, Panel, Unpadded

#: what a law of accelerators becomes on a processor
KIND = {"tile": "panel", "experts": "panel", "attend": "unpadded", "stream": "cached"}
#: starting values and prior: a tuned library on a few wide vector cores
PRIOR: dict[str, AnyLaw] = {
    "panel": Panel(2e-6, 2e-6, 0.8, 30.0, 3.0, 5.0, 5.0, 0.3),
    "unpadded": Unpadded(10e-6, 0.5, 30.0, 0.2),
    "cached": Cached(2e-6, 0.6, 0.2, 4e6),
}
BOUNDS = {
    "group_s": (1e-8, 2e-4),
    "m0": (1e-3, 300.0),
    "m1": (1e-2, 100.0),
    "n0": (1e-3, 1000.0),
    "near_efficiency": (1e-3, 1.0),
    "cache_bytes": (1e4, 1e9),
}
#: bandwidths are shares of the fastest cache's, so that memory itself may be a hundredth
NARROWER = {kind: {"memory_efficiency": (0.001, 1.0)} for kind in PRIOR}
