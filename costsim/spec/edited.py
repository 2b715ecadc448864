"""What an accelerator file of one's own changes against the catalog, in words: edits, and values beyond belief."""

from __future__ import annotations

from costsim.spec.accelerator import DATASHEET, Accelerator
from costsim.spec.catalog import ACCELERATORS, load_accelerator, names

#: a value this many times beyond any part of the catalog is more often a unit slip than a chip
BEYOND = 4.0


def about(chip: Accelerator) -> list[str]:
    """Notes on a part that is not the catalog's: what differs from the part of its id, and what no part has."""
    known = names(ACCELERATORS)
    same = load_accelerator(chip.id) if chip.id in known else None
    if same is not None and same.datasheet == chip.datasheet:
        return []
    notes = []
    if same is not None:
        changed = [
            f"{key} {same.datasheet[key].text} → {chip.datasheet[key].text}"
            for key in DATASHEET
            if same.datasheet[key].value != chip.datasheet[key].value
        ]
        if changed:
            notes.append(
                f"{chip.id} is an edited copy ({', '.join(changed)}): the laws are those measured for the real part"
            )
    return notes + _beyond(chip, known)


def _beyond(chip: Accelerator, known: list[str]) -> list[str]:
    parts = [load_accelerator(name) for name in known]
    notes = []
    for key in DATASHEET:
        value = chip.datasheet[key].value
        most = max((part for part in parts if part.known(key)), key=lambda part: part.need(key), default=None)
        if value is not None and most is not None and value > BEYOND * most.need(key):
            notes.append(
                f"{key} = {chip.datasheet[key].text} is {value / most.need(key):,.0f} times the catalog's highest "
                f"({most.id}, {most.datasheet[key].text}): is the unit right?"
            )
    return notes
