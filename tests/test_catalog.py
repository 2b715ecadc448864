"""The catalog of accelerators and clusters: every file loads, every value has a source, numbers agree with physics."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from costsim.errors import BadInput, UnknownField, UnknownName, UnsupportedDtype
from costsim.spec import catalog
from costsim.spec.accelerator import DATASHEET
from costsim.spec.cluster import Cluster
from costsim.units import BITS_PER_BYTE, GIGA, MEGA, TERA

ACCELERATORS = catalog.names(catalog.ACCELERATORS)
CLUSTERS = catalog.names(catalog.CLUSTERS)
HARDWARE_CSV = Path(__file__).resolve().parents[2] / "shared" / "truth" / "hardware.csv"

#: datasheet field -> column of the collected table, factor from its unit to SI
COLUMNS = {
    "bf16": ("bf16_tflops", TERA),
    "fp8": ("fp8_tflops", TERA),
    "int8": ("int8_tops", TERA),
    "fp4": ("fp4_tflops", TERA),
    "fp32": ("fp32_tflops", TERA),
    "tf32": ("tf32_tflops", TERA),
    "memory": ("mem_gb", GIGA),
    "memory_bandwidth": ("mem_bw_gbs", GIGA),
    "l2": ("l2_mb", MEGA),
    "cores": ("sm_count", 1.0),
    "clock": ("boost_mhz", MEGA),
    "tdp": ("tdp_w", 1.0),
    "scale_up_bandwidth": ("scaleup_gbs_per_dir", GIGA),
    "scale_up_domain": ("scaleup_domain", 1.0),
    "scale_out_bandwidth": ("scaleout_gbps_per_gpu", GIGA / BITS_PER_BYTE),
}
ASKED_FOR = """
    h800-sxm h100-sxm h100-pcie h200-sxm h20-96g h20-141g a100-80g-sxm a800-80g-sxm b200-sxm gb200-nvl72 b300-sxm l40s
    rtx4090 rtx5090 mi300x mi325x mi355x ascend-910b2 ascend-910b3 ascend-910b4 ascend-910c ascend-950pr ascend-950dt
    mtt-s5000 metax-c550 bi-v150 thead-ppu-810e kunlun-p800 mlu590 dcu-bw1000 biren-br106 tpu-v5p tpu-v6e gaudi3
    m3-ultra xeon-spr epyc-9654
"""
HOPPER = ("h800-sxm", "h100-sxm", "h100-pcie", "h200-sxm", "h20-96g", "h20-141g")
#: public NVLink totals, both directions, GB/s
NVLINK_BOTH_WAYS = {"a100-80g-sxm": 600, "h800-sxm": 400, "h100-sxm": 900, "h20-96g": 900, "b200-sxm": 1800}


def bib_keys() -> list[str]:
    text = (catalog.ROOT / "hwprofiles" / "references.bib").read_text(encoding="utf-8")
    return re.findall(r"^@\w+\{([^,\s]+),", text, re.MULTILINE)


def sources_of(table: Any) -> Iterator[str]:
    """Every ``source`` or ``sources`` in a parsed TOML, at any depth."""
    if isinstance(table, list):
        for value in table:
            yield from sources_of(value)
    if not isinstance(table, dict):
        return
    for key, value in table.items():
        if key in ("source", "sources"):
            yield from [value] if isinstance(value, str) else value
        else:
            yield from sources_of(value)


def own_accelerator(folder: Path, old: str, new: str) -> str:
    """A user's copy of the H800 file with one thing changed."""
    text = (catalog.ACCELERATORS / "h800-sxm.toml").read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    path = folder / "mine.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return str(path)


def test_asked_for_parts_are_present() -> None:
    assert set(ASKED_FOR.split()) <= set(ACCELERATORS)


@pytest.mark.parametrize("name", ACCELERATORS)
def test_accelerator_loads(name: str) -> None:
    chip = catalog.load_accelerator(name)
    assert chip.id == name
    assert set(chip.datasheet) == set(DATASHEET)
    assert chip.sibling is None or chip.sibling in ACCELERATORS
    for key, datum in chip.datasheet.items():
        assert datum.sources or datum.text == "unknown", f"{key} has a value and no source"


@pytest.mark.parametrize("name", CLUSTERS)
def test_cluster_agrees_with_its_accelerator(name: str) -> None:
    cluster = catalog.load_cluster(name)
    chip = catalog.load_accelerator(cluster.accelerator)
    assert cluster.id == name
    assert cluster.sources
    assert cluster.node_devices == chip.node_devices
    assert cluster.scale_up_domain == chip.need("scale_up_domain")
    assert cluster.scale_up_bandwidth == pytest.approx(chip.need("scale_up_bandwidth"))
    assert cluster.devices % cluster.scale_up_domain == 0
    assert cluster.scale_out_bandwidth is not None
    assert cluster.scale_out_bandwidth <= chip.need("scale_out_bandwidth") * (1 + 1e-9)


def test_sources_are_in_the_bibliography() -> None:
    keys = bib_keys()
    assert len(keys) == len(set(keys)), "a key occurs twice"
    assert [key for key in keys if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", key)] == []
    for path in sorted((catalog.ROOT / "hwprofiles").rglob("*.toml")):
        used = set(sources_of(tomllib.loads(path.read_text(encoding="utf-8"))))
        assert used <= set(keys), f"{path.name}: {sorted(used - set(keys))}"
    for path in sorted(catalog.CALIBRATION.glob("*.json")):
        used = {key for law in json.loads(path.read_text(encoding="utf-8"))["laws"].values() for key in law["sources"]}
        assert used <= set(keys), f"{path.name}: {sorted(used - set(keys))}"


@pytest.mark.skipif(not HARDWARE_CSV.is_file(), reason="the collected table hardware.csv is not beside this checkout")
def test_values_equal_the_collected_table() -> None:
    with HARDWARE_CSV.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        chip = catalog.load_accelerator(row["id"])
        assert chip.vendor == row["vendor"]
        for key, (column, factor) in COLUMNS.items():
            datum = chip.datasheet[key]
            where = f"{row['id']}.{key}"
            if row[column] in ("unknown", "n/a"):
                assert datum.text == row[column], where
            else:
                assert datum.value == pytest.approx(float(row[column]) * factor, rel=1e-9), where


@pytest.mark.parametrize("name", HOPPER)
def test_hopper_doubles_in_fp8_and_int8(name: str) -> None:
    chip = catalog.load_accelerator(name)
    assert chip.peak("fp8") == pytest.approx(2 * chip.peak("bf16"), rel=2e-3)
    assert chip.peak("int8") == pytest.approx(2 * chip.peak("bf16"), rel=2e-3)


@pytest.mark.parametrize("name", ["h100-sxm", "h200-sxm"])
def test_hopper_peak_is_cores_times_clock(name: str) -> None:
    """4096 dense BF16 FLOP per SM and cycle."""
    chip = catalog.load_accelerator(name)
    assert chip.peak("bf16") == pytest.approx(chip.need("cores") * chip.need("clock") * 4096, rel=2e-3)


@pytest.mark.parametrize("name", ["ascend-910b2", "ascend-910b3", "ascend-910b4"])
def test_ascend_peak_is_cores_times_clock(name: str) -> None:
    """8192 FLOP per cube core and cycle."""
    chip = catalog.load_accelerator(name)
    assert chip.peak("bf16") == pytest.approx(chip.need("cores") * chip.need("clock") * 8192, rel=2e-3)


@pytest.mark.parametrize(("name", "both_ways"), NVLINK_BOTH_WAYS.items())
def test_nvlink_is_per_direction(name: str, both_ways: float) -> None:
    assert catalog.load_accelerator(name).need("scale_up_bandwidth") == pytest.approx(both_ways / 2 * GIGA)


@pytest.mark.parametrize("name", ACCELERATORS)
def test_units_are_plausible(name: str) -> None:
    """Catches a factor 1000, and most factors 8 (bits for bytes)."""
    limits = {
        "bf16": (TERA, 1e4 * TERA),
        "memory": (8 * GIGA, 1e3 * GIGA),
        "memory_bandwidth": (100 * GIGA, 20 * TERA),
        "tdp": (50.0, 3000.0),
        "clock": (500 * MEGA, 4000 * MEGA),
        "scale_up_bandwidth": (10 * GIGA, 2 * TERA),
        "scale_out_bandwidth": (0.0, 200 * GIGA),
    }
    chip = catalog.load_accelerator(name)
    for key, (low, high) in limits.items():
        value = chip.datasheet[key].value
        assert value is None or low <= value <= high, key


def test_rank_of_the_910c_is_one_die() -> None:
    card, die = catalog.load_accelerator("ascend-910c"), catalog.load_accelerator("ascend-910c-die")
    rank = card.rank()
    assert (card.dies, rank.dies) == (2, 1)
    for key in ("bf16", "int8", "memory", "memory_bandwidth", "scale_up_bandwidth", "scale_out_bandwidth"):
        assert rank.need(key) == pytest.approx(card.need(key) / 2), key
    assert rank.need("clock") == card.need("clock")
    assert rank.node_devices == die.node_devices
    for key, datum in die.datasheet.items():
        value = rank.datasheet[key].value
        assert value is None if datum.value is None else value == pytest.approx(datum.value, rel=1e-9), key


def test_rank_of_one_chip_is_itself() -> None:
    chip = catalog.load_accelerator("h800-sxm")
    assert chip.rank() is chip


def test_unknown_field_is_named() -> None:
    with pytest.raises(UnknownField, match=r"memory_bandwidth is unknown for h20-141g"):
        catalog.load_accelerator("h20-141g").need("memory_bandwidth")


def test_missing_arithmetic_is_named() -> None:
    with pytest.raises(UnsupportedDtype, match=r"ascend-910b2 has no fp8 arithmetic; it has: bf16, int8"):
        catalog.load_accelerator("ascend-910b2").peak("fp8")


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown accelerator 'h800'; nearest: .*h800-sxm"):
        catalog.load_accelerator("h800")
    with pytest.raises(UnknownName, match=r"unknown cluster .*h800-8x400g-ib"):
        catalog.load_cluster("h800-8x400g")


def test_names_forgive_case_and_underscores() -> None:
    assert catalog.load_accelerator("H800_SXM").id == "h800-sxm"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"3.35 TB/s"', '"3.35 TBs"', r"memory_bandwidth: unknown unit 'TBs'"),
        ('"3.35 TB/s"', "3350", r"memory_bandwidth: a bare number in '3350'"),
        ('"80 GB"', '"-80 GB"', r"memory: '-80 GB' must be positive"),
        ('"80 GB"', '"NaN"', r"memory: 'NaN' is not a quantity"),
        ("memory_bandwidth ", "memory_bandwith ", r"unknown field 'memory_bandwith'"),
        ('vendor = "NVIDIA"', 'vendr = "NVIDIA"', r"vend"),
        ("[datasheet]", "[datasheet", r"not valid TOML"),
    ],
)
def test_bad_user_file_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        catalog.load_accelerator(own_accelerator(tmp_path, old, new))
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_good_user_file_loads(tmp_path: Path) -> None:
    chip = catalog.load_accelerator(own_accelerator(tmp_path, '"3.35 TB/s"', '"3350 GB/s"'))
    assert chip.need("memory_bandwidth") == pytest.approx(3.35 * TERA)


def test_bad_cluster_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = (catalog.CLUSTERS / "h800-8x400g-ib.toml").read_text(encoding="utf-8")
    path.write_text(text.replace('"400 Gb/s"', '"400 Gbs"'), encoding="utf-8")
    with pytest.raises(BadInput, match=r"mine.toml: scale_out_bandwidth: .*unknown unit 'Gbs'"):
        catalog.load_cluster(str(path))


def test_default_cluster_trained_deepseek_v3() -> None:
    cluster: Cluster = catalog.load_cluster("h800-8x400g-ib")
    assert (cluster.accelerator, cluster.devices, cluster.node_devices) == ("h800-sxm", 2048, 8)
    assert cluster.scale_out_bandwidth == pytest.approx(50 * GIGA)


def test_four_nics_halve_the_network() -> None:
    four, eight = catalog.load_cluster("h20-8x200g-4nic"), catalog.load_cluster("h20-8x400g")
    assert four.scale_out_bandwidth == pytest.approx(25 * GIGA)
    assert eight.scale_out_bandwidth == pytest.approx(50 * GIGA)


@pytest.mark.parametrize(("old", "new", "said"), [
    ('name = "H800 SXM5 80GB"', 'nom = "x"', "name: is missing"),
    ("year = 2022", 'yeer = 2022\nyear = 2022', "yeer: no such field; nearest: year"),
    ('vendor = "NVIDIA"', "vendor = [1]", "vendor: a text in quotes is needed (got a list)"),
    ("year = 2022", "year = 2022.5", "year: a whole number is needed (got 2022.5)"),
    ('bf16                = { value = "989 TFLOP/s"', 'bf16 = { value = "989 GB"', "unknown unit 'GB' in '989 GB'"),
    ('bf16                = {', 'bf61 = {', "datasheet: unknown field 'bf61'"),
])  # fmt: skip
def test_a_wrong_file_is_told_in_its_own_words(old: str, new: str, said: str, tmp_path: Path) -> None:
    """The field and what it needs: no dump of the table, no words of a library."""
    text = (catalog.ACCELERATORS / "h800-sxm.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "chip.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        catalog.load_accelerator(str(tmp_path / "chip.toml"))
    assert said in str(caught.value)
    assert not re.search(r"\{'|Value error|Input should|Field required|Extra inputs", str(caught.value))


def test_a_file_of_ones_own_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook one edits a chip and asks again; another folder may hold another chip of that name."""
    text = (
        catalog.ACCELERATORS.joinpath("h20-96g.toml")
        .read_text(encoding="utf-8")
        .replace('id = "h20-96g"', 'id = "mine"', 1)
    )
    for folder, size in (("a", "96 GB"), ("b", "48 GB")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.toml").write_text(text.replace('"96 GB"', f'"{size}"', 1), encoding="utf-8")
    monkeypatch.chdir(tmp_path / "a")
    assert catalog.load_accelerator("mine.toml").need("memory") == 96e9
    monkeypatch.chdir(tmp_path / "b")
    assert catalog.load_accelerator("mine.toml").need("memory") == 48e9
    (tmp_path / "b" / "mine.toml").write_text(text.replace('"96 GB"', '"141 GB"', 1), encoding="utf-8")
    assert catalog.load_accelerator("mine.toml").need("memory") == 141e9
