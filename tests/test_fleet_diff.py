"""Two days of a fleet: read back from what `costsim fleet` writes, compared, their parts adding up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from costsim.cli.main import main
from costsim.errors import BadInput
from costsim.explore.fleets import ask_fleet
from costsim.explore.inputs import of_report, read_question

OPTIONS: dict[str, list[str]] = {
    "plain": [],
    "night": ["--lease", "1USD/h", "--night-price", "0.5", "--night-shift", "0.1", "--interval", "30min", "--reactive"],
    "mix": ["--mix", "h800-sxm=0.5,h20-96g=0.5"],
    "cache": ["--cache", "200TB"],
}


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("days")
    for name, options in OPTIONS.items():
        assert main(["fleet", *options, "--out", str(folder / f"{name}.json")]) == 0
    return {name: folder / f"{name}.json" for name in OPTIONS}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_day_asked_again_is_the_day(name: str, days: dict[str, Path]) -> None:
    question = read_question(str(days[name]))
    found = ask_fleet(question.values).metrics
    assert set(question.stored) == set(found)
    for metric, value in question.stored.items():
        assert found[metric].value == pytest.approx(value, rel=1e-12), metric


@pytest.mark.parametrize("name", ["night", "mix", "cache"])
def test_parts_add_up(name: str, days: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["diff", str(days["plain"]), str(days[name]), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "fleet"
    assert {"usd_per_day", "margin", "mean_nodes"} <= set(found["metrics"])
    for metric in found["metrics"].values():
        assert sum(part["part"] for part in metric["parts"]) == pytest.approx(metric["difference"], rel=1e-9, abs=1e-9)
    assert any(metric["difference"] for metric in found["metrics"].values())


def test_only_what_changed_is_named(days: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["diff", str(days["plain"]), str(days["night"]), "--json"]) == 0
    changed = json.loads(capsys.readouterr().out)["changed"]
    assert set(changed) == {"policy.interval", "policy.forecast", "night.price", "night.shift", "lease.usd_per_gpu_h"}
    assert main(["diff", str(days["plain"]), str(days["plain"])]) == 0
    assert "No input differs" in capsys.readouterr().out


@pytest.mark.parametrize(("path", "value"), [
    (("day",), None), (("day", "unit"), []), (("day", "unit", 0), 5), (("day", "load"), "x"),
    (("day", "load", "hourly"), [1, "x"]), (("day", "load", "hourly"), {}), (("policy",), []),
    (("mix",), {"h20-96g": "x"}), (("night",), {"price": []}), (("lease",), {"usd_per_gpu_h": -1}),
    (("cache_bytes",), True), (("model",), "../x.toml"),
    (("day", "unit", 0, "accelerator"), "/etc/passwd.toml"), (("day", "load", "context"), 1e300),
])  # fmt: skip
def test_damaged_days_are_refused_in_one_line(path: tuple[Any, ...], value: Any, days: dict[str, Path]) -> None:
    document = json.loads(days["plain"].read_text(encoding="utf-8"))
    part = document["inputs"]
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(BadInput) as caught:
        ask_fleet(of_report(document, "day.json").values)
    assert "\n" not in str(caught.value)
