"""What the README says stays true: no unfilled blanks, its catalog counts are the catalog's, its tables today's.

Its commands and blocks run with those of docs/, in ``test_docs.py``.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.readme import accuracy_tables
from costsim.spec.catalog import ACCELERATORS, MODELS, names

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")


def test_no_blank_is_left() -> None:
    assert "@@" not in README
    assert f"{len(names(ACCELERATORS))} accelerators" in README
    assert f"{len(names(MODELS))} models" in README


def test_the_accuracy_tables_are_what_validate_says_today() -> None:
    assert accuracy_tables() in README, "python -m benchmarks.readme writes it anew"
