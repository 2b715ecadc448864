"""`costsim network` as a user meets it: tables, JSON, pages, and every kind of bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from costsim.cli.main import main

CLUSTER = "h800-8x400g-ib"


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(["network", *words, "--json"]) == 0, capsys.readouterr().err
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_list_holds_the_published_table(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["id"]: row for row in asked(capsys, "list")["networks"]}  # type: ignore[attr-defined]
    assert rows["mpft-64x8"]["endpoints"] == 16384
    assert rows["mpft-64x8"]["usd_per_endpoint"] == pytest.approx(4390, rel=0.01)
    assert rows[CLUSTER]["topology"]["scale_out"] == "multi-plane"


def test_a_topology(capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "show", "slim-fly-5")
    assert found["counts"] == {"endpoints": 200, "switches": 50, "links": 175}
    assert found["hops"]["diameter"] == 4  # type: ignore[index]
    assert found["contention"]["uniform"]["ecmp"] >= 1.0  # type: ignore[index]


def test_a_topology_that_cannot_be_built_still_has_its_counts(capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "show", "slim-fly-28")
    assert found["counts"]["links"] == 32928  # type: ignore[index]
    assert "not a prime" in str(found["not_built"])


def test_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "show", CLUSTER, "--ranks", "16", "--size", "1MB,1GB", "--traffic", "dispatch")
    rows = found["collectives"]
    assert isinstance(rows, list)
    assert {row["collective"] for row in rows} == {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p"}
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["grade"] in "ABCD"
        assert row["unit"] == "s"
    assert set(found["all_reduce_s"]) == {"sizes_bytes", "ring", "tree", "nvls"}  # type: ignore[call-overload]
    modes = {(row["mode"], row["way"]) for row in found["expert_parallel"]}  # type: ignore[attr-defined]
    assert len(modes) == 4
    others = {row["network"]: row["all_to_all_s"] for row in found["other_networks"]}  # type: ignore[attr-defined]
    assert others["multi-plane"] == pytest.approx(others["multi-rail"], rel=0.01)
    assert found["usd"]["value"] / 2048 == pytest.approx(4390, rel=0.01)  # type: ignore[index]


@pytest.mark.parametrize("name", ["csv", "npy"])
def test_your_own_matrix(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    matrix = np.zeros((16, 16))
    matrix[0, 8] = 5e9
    path = tmp_path / f"m.{name}"
    if name == "csv":
        np.savetxt(path, matrix, delimiter=",")
    else:
        np.save(path, matrix)
    found = asked(capsys, "show", CLUSTER, "--ranks", "16", "--matrix", str(path))
    time = found["traffic_time_s"]
    assert isinstance(time, dict)
    assert time["value"] >= 5e9 / 50e9
    links = found["busiest_links"]["links"]  # type: ignore[index]
    assert links[0]["from"] in ("gpu 0.0", "leaf 0.0")
    assert links[0]["moved_bytes"] == pytest.approx(5e9)


@pytest.mark.parametrize("form", ["html", "md", "csv", "json"])
def test_pages(capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str) -> None:
    target = tmp_path / f"network.{form}"
    assert main(["network", "show", CLUSTER, "--ranks", "16", "--out", str(target)]) == 0
    text = target.read_text(encoding="utf-8")
    assert len(text) > 500
    if form == "html":
        assert text.count('class="chart"') >= 4  # by size, matrix, link loads, drawing
    capsys.readouterr()
    assert main(["network", "show", "fat-tree-4", "--out", str(target)]) == 0
    assert main(["network", "list", "fly", "--out", str(target)]) == 0


def test_tables_fit_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for words in (["list"], ["show", CLUSTER, "--ranks", "16"], ["show", "dragonfly-9"]):
        assert main(["network", *words]) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["draw"], "neither list nor show"),
        (["show"], "which topology or cluster"),
        (["show", "torus"], "unknown topology or cluster"),
        (["list", "zzz"], "no topology or cluster id contains"),
        (["show", "ft2-64", "--ranks", "8"], "is for clusters"),
        (["show", CLUSTER, "--ranks", "12"], "do not fill domains"),
        (["show", CLUSTER, "--ranks", "1"], "--ranks"),
        (["show", CLUSTER, "--ranks", "8,16"], "give one number"),
        (["show", CLUSTER, "--ranks", "1e9"], "--ranks"),
        (["show", CLUSTER, "--size", "12"], "bare number"),
        (["show", CLUSTER, "--size=-1MB"], "sizes must be"),
        (["show", CLUSTER, "--size", ","], "--size"),
        (["show", CLUSTER, "--routing", "magic"], "ecmp"),
        (["show", CLUSTER, "--scale-out", "torus"], "multi-plane"),
        (["show", CLUSTER, "--traffic", "gossip"], "all_to_all"),
        (["show", CLUSTER, "--matrix", "none.csv"], "cannot be read"),
        (["show", CLUSTER, "--matrix", "none.npy"], "cannot be read"),
        (["show", CLUSTER, "--matrix", "m.txt"], ".npy"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str], words: list[str], says: str) -> None:
    assert main(["network", *words]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [("1,2\n3", "not a square"), ("a,b\nc,d", "not a square"), ("1,2\n3,4", "16 × 16"), ("", "16 × 16"),
     ("\n".join(",".join(["-1"] * 16) for _ in range(16)), "not negative"),
     ("\n".join(",".join(["nan"] * 16) for _ in range(16)), "finite")],
)  # fmt: skip
def test_bad_matrices(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    assert main(["network", "show", CLUSTER, "--ranks", "16", "--matrix", str(path)]) == 2
    assert says in capsys.readouterr().err


def test_a_pickle_is_not_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "m.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert main(["network", "show", CLUSTER, "--ranks", "16", "--matrix", str(path)]) == 2
    assert "no numpy array of numbers" in capsys.readouterr().err


def test_your_own_topology_and_cluster(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    own = tmp_path / "fabric.toml"
    own.write_text(
        'id = "mine"\nname = "mine"\nkind = "fat-tree-2"\nlink = "roce"\nbandwidth = "800 Gb/s"\n'
        "[parameters]\nradix = 16\n"
    )
    assert asked(capsys, "show", str(own))["counts"]["endpoints"] == 128  # type: ignore[index]
    text = (
        'id = "mine"\nname = "mine"\naccelerator = "h20-96g"\ndevices = 32\nnode_devices = 8\nscale_up_domain = 8\n'
        'scale_up_bandwidth = "450 GB/s"\nscale_out_bandwidth = "200 Gb/s"\n'
    )
    wiring = '[topology]\nscale_up = "nvswitch"\nscale_out = "fat-tree-2"\nup_link = "nvlink"\nradix = 16\n'
    for name, body, says in (
        ("good", text + wiring, ""),
        ("link", text + wiring.replace("nvlink", "string"), "unknown link"),
        ("none", text, "no [topology]"),
        ("kind", text + wiring.replace("nvswitch", "pigeon"), "scale_up"),
    ):
        own = tmp_path / f"{name}.toml"
        own.write_text(body)
        assert main(["network", "show", str(own), "--json"]) == (2 if says else 0)
        assert says in capsys.readouterr().err
