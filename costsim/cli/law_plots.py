"""The laws of a chip on the page of `costsim hw show`: every law with its parameters, and law against points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costsim.calibration.measurement import Measurement
    from costsim.report.document import Section
    from costsim.spec.accelerator import Accelerator
    from costsim.timing.device import Correction
    from costsim.timing.laws import AnyLaw


def chip_law_section(chip: Accelerator, keys: Sequence[str], plotted: bool) -> Section:
    """The laws named by ``keys`` as they hold on ``chip``; ``plotted`` adds charts of the rows measured there."""
    from costsim.calibration.points import law_points
    from costsim.calibration.store import Laws
    from costsim.report.laws import law_section

    laws = Laws(chip)
    known = {key: laws[key] for key in keys if laws.get(key) is not None}

    def law_of(key: str) -> tuple[AnyLaw, Correction | None] | None:
        found = known.get(key)
        return None if found is None or found.origin != chip.id else (found.law, found.correction)

    points = law_points(chip, measured_rows(chip), law_of) if plotted else {}
    return law_section({key: found.law for key, found in known.items()}, points, "Laws and points")


def measured_rows(chip: Accelerator) -> list[Measurement]:
    """Rows measured on the chip that are at hand: shipped ones and, with the extra ``silicon``, its tables."""
    from importlib.util import find_spec

    from costsim.calibration.run import measurements_of, shipped_measurements, silicon_rows
    from costsim.calibration.sources.aiconfigurator import SYSTEMS

    rows = measurements_of(chip.id) if chip.id in shipped_measurements() else []
    if chip.id in SYSTEMS and all(find_spec(name) for name in ("aiconfigurator_core", "pyarrow")):
        rows = [*rows, *silicon_rows(chip.id)]
    return rows
