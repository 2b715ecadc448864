"""A chip by form: every shipped chip can be changed in every field, and nothing else of it moves."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="needs the extra dashboard")

from costsim.errors import BadInput
from costsim.spec.accelerator import Accelerator
from costsim.spec.base import build
from costsim.spec.catalog import ACCELERATORS
from dashboards.chip_form import FIELDS, written

FILES = sorted(ACCELERATORS.glob("*.toml"))
#: a value of each field that no chip has
OTHER = {"bf16": "123.5 TFLOP/s", "fp8": "n/a", "fp4": "unknown", "memory": "77 GB", "memory_bandwidth": "1.25 TB/s",
         "cores": "71", "tdp": "333 W", "scale_up_bandwidth": "11 GB/s", "scale_up_domain": "3",
         "scale_out_bandwidth": "99 Gb/s"}  # fmt: skip


def shown(text: str) -> dict[str, Any]:
    return {field: entry["value"] for field, entry in tomllib.loads(text)["datasheet"].items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_form_changes_what_it_names(path: Any) -> None:
    text = path.read_text(encoding="utf-8")
    before = shown(text)
    assert set(OTHER) == set(FIELDS)
    given = {**{field: str(before[field]) for field in FIELDS if field in before}, "id": "mine", "name": 'my "chip"'}
    for field in (name for name in FIELDS if name in before and before[name] != OTHER[name]):
        made = written(text, {**given, field: OTHER[field]})
        assert shown(made) == {**before, field: OTHER[field]}
        chip = build(Accelerator, tomllib.loads(made), "chip")
        assert (chip.id, chip.name) == ("mine", 'my "chip"')
        assert chip.datasheet[field].sources == ("own-figure",)


@pytest.mark.parametrize(("change", "why"), [({}, "differs"), ({"memory": "77 GB", "id": "h20-96g"}, "id of its own")])
def test_a_form_that_says_nothing_new_is_refused(change: dict[str, str], why: str) -> None:
    text = ACCELERATORS.joinpath("h20-96g.toml").read_text(encoding="utf-8")
    with pytest.raises(BadInput, match=why):
        written(text, {"id": "mine", "name": "mine", **change})


def test_hostile_words_stay_words() -> None:
    text = ACCELERATORS.joinpath("h20-96g.toml").read_text(encoding="utf-8")
    made = written(text, {"id": "mine", "name": "\\1 } x = 1\n[y] <b>", "memory": '1 GB" }\n[z]'})
    data = tomllib.loads(made)
    assert data["name"] == "\\1 } x = 1\n[y] <b>"
    assert data["datasheet"]["memory"]["value"] == '1 GB" }\n[z]'
    assert "y" not in data
    assert "z" not in data
