"""How long a placement takes and how near its bound it comes: `python -m benchmarks.placement [FOLDER]`.

CPU seconds of one core for 58 layers of 256 experts, start of the process left out. FOLDER may hold recorded loads
(``lognormal_s0.6_58x256.npy`` and such); without it loads are drawn.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import process_time

import numpy as np

from costsim.placement import eplb
from costsim.placement.bound import lower_bound
from costsim.placement.drift import windows
from costsim.placement.load import lognormal, read_loads
from costsim.placement.optimize import Goal, optimise
from costsim.placement.placement import Loads, Shape
from costsim.placement.traffic import Choices, remote_nodes

SHAPES = {"EP32": Shape(256, 288, 32, 4, 8), "EP72": Shape(256, 288, 72, 9, 8), "EP144": Shape(256, 288, 144, 18, 8)}
GOALS = {"both": Goal(), "this window": Goal(0.0, None)}
V3 = Choices(8, 4)


def windows_of(sigma: float, folder: Path | None) -> tuple[Loads, Loads]:
    """A window of loads and the next."""
    name = f"lognormal_s{sigma}_58x256"
    if folder is not None and (folder / f"{name}.npy").is_file():
        return read_loads(folder / f"{name}.npy").counts, read_loads(folder / f"{name}_next.npy").counts
    counts = lognormal(58, 256, sigma, seed=1).counts
    return counts, windows(counts, 0.15, 1)[0]


def main(folder: Path | None) -> None:
    print("| loads | case | placement | max/mean | next window | remote nodes | bound | CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    for sigma in (0.4, 0.6, 0.8, 1.0):
        counts, later = windows_of(sigma, folder)
        for case, shape in SHAPES.items():
            low = lower_bound(shape, counts).mean()
            for name, make in (
                ("EPLB", lambda s=shape, w=counts: eplb.eplb(s, w)),
                *((n, lambda s=shape, w=counts, g=g: optimise(s, w, V3, g)) for n, g in GOALS.items()),
            ):
                make()
                start = process_time()
                placed = make()
                spent = process_time() - start
                remote = float(np.mean(remote_nodes(placed, counts, V3)))
                print(
                    f"| {sigma} | {case} | {name} | {placed.imbalance(counts).mean():.4f} | "
                    f"{placed.imbalance(later).mean():.4f} | {remote:.3f} | {low:.4f} | {spent:.3f} |"
                )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
