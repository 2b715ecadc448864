"""The exact placement of one small layer, by mixed-integer programming: how near the optimum the search comes.

Needs scipy (HiGHS), which only the development extra brings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costsim.errors import Absent
from costsim.placement.placement import Loads, Shape


@dataclass(frozen=True)
class Optimum:
    """Busiest GPU over the mean: the best placement found and the bound that is proven; equal where solved."""

    found: float
    bound: float


def optimum(shape: Shape, load: Loads, limit_s: float = 10.0, known: float | None = None) -> Optimum:
    """Solve min T over copies and places of one layer's experts ``load`` [experts], splits even.

    y_ec: expert e has c copies; z_egc: so many of them on GPU g.
    Σ_c y_ec = 1; Σ_g z_egc = c·y_ec; Σ_ec z_egc = S/G; Σ_ec z_egc·w_e/c ≤ T. ``known`` caps T from above.
    Raises BadInput where scipy is missing.
    """
    try:
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import coo_matrix
    except ImportError:
        raise Absent("the exact reference needs scipy; pip install scipy") from None
    w = load / load.sum() * shape.gpus
    if shape.per_gpu == 2 and w.min() > 0:
        return _pairs(shape, w, limit_s, np.inf if known is None else known)
    experts, gpus, most = shape.experts, shape.gpus, shape.slots - shape.experts + 1
    pairs = [(e, c) for e in range(experts) for c in range(1, most + 1)]
    n, top = len(pairs), len(pairs) * (1 + gpus)
    rows: list[tuple[int, int, float]] = []
    for i, (e, c) in enumerate(pairs):
        rows.append((e, i, 1.0))
        rows.append((experts + i, i, -float(c)))
        for g in range(gpus):
            z = n + i * gpus + g
            rows += [(experts + i, z, 1.0), (experts + n + g, z, 1.0), (experts + n + gpus + g, z, w[e] / c)]
    rows += [(experts + n + gpus + g, top, -1.0) for g in range(gpus)]
    r, col, value = (np.array(part) for part in zip(*rows, strict=True))
    equal = np.concatenate([np.ones(experts), np.zeros(n), np.full(gpus, float(shape.per_gpu))])
    upper = np.concatenate([equal, np.zeros(gpus)])
    lower = np.concatenate([equal, np.full(gpus, -np.inf)])
    matrix = coo_matrix((value, (r, col)), shape=(experts + n + 2 * gpus, top + 1)).tocsr()
    size = np.array([c for _, c in pairs], dtype=float)
    highest = np.concatenate([np.ones(n), np.repeat(size, gpus), [np.inf if known is None else known]])
    result = milp(
        np.concatenate([np.zeros(top), [1.0]]),
        constraints=LinearConstraint(matrix, lower, upper),
        integrality=np.concatenate([np.ones(top), [0.0]]),
        bounds=Bounds(np.concatenate([np.zeros(top), [1.0]]), highest),
        options={"time_limit": limit_s, "mip_rel_gap": 1e-3},
    )
    bound = 1.0 if result.mip_dual_bound is None else float(result.mip_dual_bound)
    found = float(result.x[-1]) if result.x is not None else (np.inf if known is None else known)
    return Optimum(found, bound)


def _pairs(shape: Shape, w: Loads, limit_s: float, known: float) -> Optimum:
    """Two slots a GPU: bisection on T, each step a program in the copies alone.

    Copies pair up under T exactly if for every size x > T/2 there are no more copies of at least x than copies of at
    most T − x: the largest with the smallest.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    most = shape.slots - shape.experts + 1
    expert, copies = (part.ravel() for part in np.meshgrid(np.arange(shape.experts), np.arange(1, most + 1)))
    size = w[expert] / copies
    one = (expert == np.arange(shape.experts)[:, None]).astype(float)

    def pairable(top: float) -> bool | None:
        large = np.unique(size[(size > top / 2.0)])
        use = large <= top
        rows = copies * ((size >= large[use][:, None]).astype(float) - (size <= top - large[use][:, None] + 1e-12))
        bounds = Bounds(np.zeros(len(size)), (size <= top).astype(float))
        limits = [LinearConstraint(one, 1.0, 1.0), LinearConstraint(copies[None, :], shape.slots, shape.slots)]
        if len(rows):
            limits.append(LinearConstraint(rows, -np.inf, 0.0))
        result = milp(np.zeros(len(size)), constraints=limits, integrality=np.ones(len(size)), bounds=bounds,
                      options={"time_limit": limit_s})  # fmt: skip
        return True if result.status == 0 else False if result.status == 2 else None

    low, high = 1.0, known if np.isfinite(known) else float(np.sort(w)[-2:].sum())
    while high - low > 1e-3 * low:
        middle = (low + high) / 2.0
        found = pairable(middle)
        if found is None:
            break
        low, high = (low, middle) if found else (middle, high)
    return Optimum(high, low)
