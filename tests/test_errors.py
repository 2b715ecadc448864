"""Errors have codes: stable, each with what it means and what to do, shown at the end of the line."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from costsim import errors
from costsim.cli.main import main
from costsim.errors import BadInput, UnknownName, catalog, meaning

#: codes are written in scripts and bug reports: none may change its kind, and a retired one is never used again
STABLE = {
    "CS100": "BadInput", "CS101": "UnknownName", "CS102": "BadOption", "CS103": "BadQuantity", "CS104": "OutOfRange",
    "CS105": "Contradiction",
    "CS201": "UnreadableFile", "CS202": "Malformed", "CS203": "UnknownSchema", "CS204": "CannotWrite",
    "CS301": "UnknownField", "CS302": "UnsupportedDtype",
    "CS401": "DoesNotDivide", "CS402": "DoesNotFit", "CS403": "NothingFound", "CS404": "Deadlock",
    "CS405": "NotModelled", "CS501": "Absent", "CS502": "Exhausted", "CS900": "defect",
}  # fmt: skip
#: places that raise BadInput itself
LEFT = 80


def test_codes_are_stable_and_told() -> None:
    assert {each.code: each.name for each in catalog()} == STABLE
    for each in catalog():
        assert each.title and each.means.endswith(".") and each.mend.endswith(".")  # noqa: PT018
    assert len({each.title for each in catalog()}) == len(STABLE)


def test_every_kind_in_the_package_has_its_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BadInput)]
    assert {kind.code for kind in kinds} == set(STABLE) - {"CS900"}


@pytest.mark.parametrize("code", [each.code for each in catalog() if each.example])
def test_the_example_ends_with_its_code(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    verb, *argv = shlex.split(meaning(code).example)
    assert verb == "costsim"
    assert main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(rf"costsim: error: [^\n]+ \[{code}\]\n", said.err)


def test_doctor_tells_one_and_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--errors"]) == 0
    assert all(code in capsys.readouterr().out for code in ["CS100"])
    assert main(["doctor", "--errors", "cs402"]) == 0
    said = capsys.readouterr().out
    assert "memory" in said
    assert "search" in said
    assert main(["doctor", "--errors", "CS999"]) == 2
    with pytest.raises(UnknownName, match="unknown error code"):
        meaning("CS4")


def test_refusals_name_a_closer_kind_than_any() -> None:
    """CS100 says nothing: what is left of it is counted here, and may only shrink."""
    root = Path(errors.__file__).parent
    plain = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) == "BadInput"
    ]
    assert len(plain) <= LEFT, plain
