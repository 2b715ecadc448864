"""Diff, sensitivity and rankings: brute-force Shapley, sums over random questions, closed forms of draws."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costsim.cli import main as cli
from costsim.errors import BadInput, UnknownName
from costsim.explore.attribution import attribute
from costsim.explore.diff import diff
from costsim.explore.inputs import Question, ask, of_report, read_question
from costsim.explore.moved import Asked, MovedLaws
from costsim.explore.robustness import ranking
from costsim.explore.sensitivity import P90, Lever, levers, sampled, tornado
from costsim.spec.catalog import ACCELERATORS, load_accelerator

CHIPS = ["h800-sxm", "h20-96g", "h200-sxm", "b200-sxm", "ascend-910c"]
Value = Callable[[frozenset[str]], Any]


def brute(names: list[str], value: Value) -> dict[str, float]:
    """Shapley by playing every order; an order that meets a set without an answer is left out."""
    parts = dict.fromkeys(names, 0.0)
    orders = 0
    for order in itertools.permutations(names):
        sets = [frozenset(order[:k]) for k in range(len(order) + 1)]
        found = [value(some) for some in sets]
        if any(one is None for one in found):
            continue
        orders += 1
        for name, before, after in zip(order, found, found[1:], strict=False):
            parts[name] += float(after[0] - before[0])
    return {name: part / orders for name, part in parts.items()}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("holes", [0.0, 0.25])
def test_shares_are_shapleys(seed: int, holes: float) -> None:
    rng = np.random.default_rng(seed)
    names = [f"x{i}" for i in range(5)]
    table = {}
    for mask in range(32):
        some = frozenset(name for i, name in enumerate(names) if mask >> i & 1)
        gone = 0 < mask < 31 and rng.random() < holes
        table[some] = None if gone else rng.normal(size=1)
    try:
        expected = brute(names, table.__getitem__)
    except ZeroDivisionError:
        pytest.skip("no order works: joined groups are tested below")
    found = attribute(names, table.__getitem__)
    assert {share.names[0]: float(share.part[0]) for share in found.shares} == pytest.approx(expected)
    assert sum(float(share.part[0]) for share in found.shares) == pytest.approx(float(found.whole[0]))


def test_inputs_that_only_work_together_share_a_part() -> None:
    """A chip without FP8 and the change to 16 bits: neither alone... the chip never, so both orders need both."""

    def value(some: frozenset[str]) -> Any:
        if ("chip" in some) != ("precision" in some):
            return None
        return np.array([10.0 * ("chip" in some) + 1.0 * ("batch" in some)])

    found = attribute(["chip", "batch", "precision"], value)
    parts = {share.names: float(share.part[0]) for share in found.shares}
    assert parts == {("batch",): pytest.approx(1.0), ("chip", "precision"): pytest.approx(10.0)}
    assert math.isfinite(float(found.interaction[0]))


def test_interaction_is_what_the_parts_alone_leave() -> None:
    found = attribute(["a", "b"], lambda s: np.array([(2.0 if "a" in s else 1.0) * (3.0 if "b" in s else 1.0)]))
    assert [float(share.alone[0]) for share in found.shares] == [1.0, 2.0]
    assert [float(share.part[0]) for share in found.shares] == [2.0, 3.0]
    assert float(found.interaction[0]) == 2.0


def decode_question(rng: random.Random) -> dict[str, Any]:
    """A random question that has an answer."""
    while True:
        gpus = rng.choice([16, 32, 64, 128])
        values = {
            "model": rng.choice(["deepseek-v3", "kimi-k2"]), "accelerator": rng.choice(CHIPS),
            "price": rng.choice([0.5, 1.0, 2.0]), "plan.gpus": gpus,
            "plan.ep": rng.choice([gpus, gpus * 2, 16]), "plan.precision": rng.choice(["fp8", "int8", "bf16"]),
            "plan.overlap": rng.choice(["none", "two-batch"]), "load.context": rng.choice([1024, 4096]),
            "load.batch_per_gpu": rng.choice([4, 16, 64]),
        }  # fmt: skip
        try:
            ask("decode", values)
        except BadInput:
            continue
        return values


def train_question(rng: random.Random) -> dict[str, Any]:
    while True:
        values = {
            "model": "deepseek-v3", "accelerator": rng.choice(["h800-sxm", "h100-sxm", "b200-sxm"]),
            "price": rng.choice([1.0, 2.0]), "plan.gpus": 2048, "plan.pp": 16,
            "plan.ep": rng.choice([32, 64]), "plan.recompute": "full",
            "plan.schedule": rng.choice(["1f1b", "dualpipe"]),
            "load.seq": 4096, "load.global_batch": rng.choice([7680, 15360]), "load.tokens": 1e12,
        }  # fmt: skip
        try:
            ask("training", values)
        except BadInput:
            continue
        return values


@pytest.mark.parametrize("seed", range(20))
def test_parts_sum_to_the_difference(seed: int) -> None:
    rng = random.Random(seed)
    kind, draw = ("training", train_question) if seed % 5 == 4 else ("decode", decode_question)
    a, b = (Question(kind, draw(rng), name, {}) for name in ("a", "b"))
    found = diff(a, b)
    for one in found.differences:
        assert one.before.value + sum(part.part for part in one.parts) == pytest.approx(one.after.value, rel=1e-9)
        if all(part.factor is not None for part in one.parts) and one.before.value > 0:
            factors = math.prod(part.factor or 1.0 for part in one.parts)
            assert factors == pytest.approx(one.after.value / one.before.value, rel=1e-6)
        if one.interaction is not None:
            alone = sum(part.alone for part in one.parts if part.alone is not None)
            assert alone + one.interaction == pytest.approx(one.whole, rel=1e-6, abs=1e-12 * abs(one.after.value))
    named = {name for part in found.differences[0].parts for name in part.names}
    assert named == set(found.changed)


def test_a_price_alone_is_the_whole_difference() -> None:
    rng = random.Random(1)
    values = decode_question(rng)
    found = diff(Question("decode", values, "a", {}), Question("decode", values | {"price": 4.0}, "b", {}))
    usd = found.of("usd_per_mtok_output")
    assert [part.names for part in usd.parts] == [("price",)]
    assert usd.after.value / usd.before.value == pytest.approx(4.0 / values["price"])
    assert found.of("tpot_s").whole == 0
    assert usd.parts[0].factor == pytest.approx(4.0 / values["price"])
    with pytest.raises(UnknownName):
        found.of("speed")


def write(path: Path, *argv: str) -> str:
    assert cli.main([*argv, "--out", str(path)]) == 0
    return str(path)


def test_stored_numbers_that_drifted_are_a_part_of_their_own(tmp_path: Path) -> None:
    a = write(tmp_path / "a.json", "infer", "--batch-per-gpu", "64")
    document = json.loads(Path(a).read_text(encoding="utf-8"))
    document["metrics"]["tpot_s"]["value"] *= 1.1
    old = tmp_path / "old.json"
    old.write_text(json.dumps(document), encoding="utf-8")
    tpot = diff(read_question(str(old)), read_question(a)).of("tpot_s")
    assert [part.names for part in tpot.parts] == [("program and data since these files were written",)]
    assert tpot.whole == pytest.approx(-0.1 / 1.1 * document["metrics"]["tpot_s"]["value"])


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a.json", "infer")
    b = write(tmp_path / "b.json", "infer", "--accelerator", "h20-96g", "--gpus", "16", "--batch-per-gpu", "32")
    capsys.readouterr()
    assert cli.main(["diff", a, b, "--json", "--out", str(tmp_path / "d.html")]) == 0
    answer = json.loads(capsys.readouterr().out)
    for metric in answer["metrics"].values():
        assert sum(part["part"] for part in metric["parts"]) == pytest.approx(metric["difference"], abs=1e-9)
    assert "waterfall" in (tmp_path / "d.html").read_text(encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["diff", a, b]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    post = write(tmp_path / "p.json", "posttrain", "--recipe", "tiny-zero-3b")
    dear = write(tmp_path / "q.json", "posttrain", "--recipe", "tiny-zero-3b", "--price", "3USD/h")
    step = write(tmp_path / "s.json", "posttrain")
    long = write(tmp_path / "l.json", "posttrain", "--response-mean", "6000")
    for pair in ((post, dear), (step, long)):
        assert cli.main(["diff", *pair]) == 0
    for bad in ((a, post), (a, "none.json"), (a, str(tmp_path / "d.html")), (a, b, "--metric", "speed")):
        capsys.readouterr()
        assert cli.main(["diff", *bad]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_scenarios(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text('[workload]\ntpot = "50 ms"\n[plan]\nmax_gpus = 32\n', encoding="utf-8")
    two.write_text('[workload]\ntpot = "100 ms"\n[plan]\nmax_gpus = 32\n[cluster]\naccelerator = "h200-sxm"\n',
                   encoding="utf-8")  # fmt: skip
    assert cli.main(["diff", str(one), str(two), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer["changed"]) == {"workload.tpot", "cluster.accelerator"}
    usd = answer["metrics"]["decode_usd_per_mtok_output"]
    assert sum(part["part"] for part in usd["parts"]) == pytest.approx(usd["difference"])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"inputs": 3}', '{"kind": "decode", "inputs": {"plan": 3}}',
                                  '{"kind": "decode", "inputs": {"plan": {"gpus": NaN}}}', "[" * 100_000,
                                  '{"kind": "decode", "inputs": {"model": "deepseek-v3", "accelerator": "h800-sxm"}}',
                                  '{"kind": "decode", "inputs": {"model": 3, "accelerator": [], "plan": {"x": 1}}}',
                                  '{"kind": "training", "inputs": {"price": {"usd_per_h": "2; os"}}}'])  # fmt: skip
def test_reports_that_are_none_are_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    bad = str(path)
    for argv in (["diff", bad, bad], ["sensitivity", bad], ["explain", "step_s", "--report", bad]):
        assert cli.main(argv) == 2, argv
        assert capsys.readouterr().err.count("\n") == 1


# ---------------------------------------------------------------- sensitivity and rankings


def question(accelerator: str = "h800-sxm", **changes: Any) -> Question:
    values = {
        "model": "deepseek-v3", "accelerator": accelerator, "price": 2.0, "plan.gpus": 32, "plan.ep": 32,
        "load.context": 4096, "load.batch_per_gpu": 32,
    } | {key.replace("__", "."): value for key, value in changes.items()}  # fmt: skip
    return of_report(ask("decode", values).json(), accelerator)


def test_nothing_moved_is_the_report() -> None:
    for metric in ("tpot_s", "usd_per_mtok_output", "tokens_per_s_per_gpu"):
        asked = Asked(question(), metric)
        assert asked.at({}) == pytest.approx(asked.report[metric])


def test_a_price_moves_money_in_proportion_and_time_not_at_all() -> None:
    name = "price of h800-sxm"
    assert Asked(question(), "usd_per_mtok_output").at({name: 1.5}) == pytest.approx(
        1.5 * Asked(question(), "usd_per_mtok_output").value
    )
    assert Asked(question(), "tpot_s").at({name: 1.5}) == Asked(question(), "tpot_s").value


def test_all_laws_slower_is_at_most_as_much_slower() -> None:
    asked = Asked(question(), "step_s")
    every = dict.fromkeys(asked.laws, 1.3)
    assert 1.2 < asked.at(every) / asked.value <= 1.3 + 1e-9
    assert any(name.startswith("law moe") for name in asked.laws)


def test_a_law_faster_than_light_stays_at_light() -> None:
    asked = Asked(question(), "step_s")
    assert asked.at(dict.fromkeys(asked.laws, 1e-6)) > 0.1 * asked.value


def test_the_bandwidth_lever_is_the_datasheet() -> None:
    """The lever gives what a chip with that bandwidth gives: H800 with 10% more, through another road."""
    asked = Asked(question(), "step_s")
    chip = load_accelerator("h800-sxm")
    laws = MovedLaws({}, {})
    assert len(laws) == 0
    faster = asked.at({"memory_bandwidth of h800-sxm": 1.1}) / asked.value
    assert 1 / 1.1 <= faster < 1
    assert chip.need("memory_bandwidth") == load_accelerator("h800-sxm").need("memory_bandwidth")


def test_tornado_bars_are_ordered_and_inside_the_whole() -> None:
    found = tornado(question(), "usd_per_mtok_output", draws=100, seed=1)
    swings = [bar.swing for bar in found.bars]
    assert swings == sorted(swings, reverse=True)
    assert found.low < found.value < found.high
    assert {"price of h800-sxm", "system of h800-sxm"} <= {bar.name for bar in found.bars}
    again = tornado(question(), "usd_per_mtok_output", draws=100, seed=1)
    assert again == found


def test_a_number_has_one_band_and_draws_from_its_inputs_agree_with_it() -> None:
    """Sensitivity shows the answer's own P10 and P90. The oracle is 400 draws of every input but the stated price:
    within 7 % at both ends, though they also doubt the datasheet. With the price in doubt the band is wider."""
    for metric in ("step_s", "usd_per_mtok_output"):
        found, asked = tornado(question(), metric, draws=100, seed=1), Asked(question(), metric)
        own = asked.report.metrics[metric]
        assert (found.low, found.high) == (own.low, own.high)
        doubted = [lever for lever in levers(asked) if not lever.stated]
        drawn = np.quantile(sampled([asked], [doubted], 400, 0)[0], [0.1, 0.9])
        assert drawn == pytest.approx([own.low, own.high], rel=0.07)
        if metric.startswith("usd"):
            assert found.any_price is not None
            assert found.any_price[0] < found.low < found.high < found.any_price[1]
        else:
            assert found.any_price is None


def test_draws_meet_their_band() -> None:
    lever = Lever("x", 0.8, 1.5, "")
    z = np.random.default_rng(0).standard_normal(40_000)
    low, high = np.quantile(lever.drawn(z), [0.1, 0.9])
    assert (low, high) == pytest.approx((0.8, 1.5), rel=0.02)
    kept = Lever("acceptance", 0.75, 0.95, "", 0.85).drawn(z)
    assert kept.min() >= 0
    assert kept.max() <= 1


def test_a_ranking_counts_draws() -> None:
    """Two answers that differ by price alone share all but the price's own draw: the dearer never wins by time."""
    a, b = question(), question(price=2.2)
    found = ranking([a, b], "usd_per_mtok_output", draws=50)
    assert found.beats[0][1] == 1.0  # every input of the two has the same name and draw
    assert found.names == ("h800-sxm", "h800-sxm (2)")
    both = ranking([question(), question("h20-96g", price=0.6)], "usd_per_mtok_output", draws=60)
    assert both.beats[0][1] + both.beats[1][0] == pytest.approx(1.0)
    assert sum(both.first) == pytest.approx(1.0)
    assert 0 < both.beats[1][0] < 1


def test_two_prices_of_log_normal_spread_rank_as_the_closed_form() -> None:
    """With only prices uncertain, P(a < b) = Φ(ln(b/a) / σ√2): one law, two independent prices."""

    class Priced:
        def __init__(self, name: str, value: float) -> None:
            self.name, self.value = name, value

        def at(self, moves: dict[str, float]) -> float:
            return self.value * moves[self.name]

    spread = 1.3
    levers_ = [[Lever(name, 1 / spread, spread, "")] for name in ("a", "b")]
    drawn = sampled([Priced("a", 1.0), Priced("b", 1.2)], levers_, 20_000, 3)  # type: ignore[list-item]
    sigma = math.log(spread) / P90
    expected = 0.5 * (1 + math.erf(math.log(1.2) / (sigma * math.sqrt(2)) / math.sqrt(2)))
    assert float(np.mean(drawn[0] < drawn[1])) == pytest.approx(expected, abs=0.01)


def test_training_moves_too() -> None:
    values = {"model": "deepseek-v3", "accelerator": "h800-sxm", "price": 2.0, "plan.gpus": 2048, "plan.pp": 16,
              "plan.ep": 64, "plan.schedule": "dualpipe", "plan.recompute": "norm,mla_up_proj", "load.seq": 4096,
              "load.global_batch": 15360, "load.tokens": 14.8e12}  # fmt: skip
    asked = Asked(Question("training", values, "v3", {}), "usd_per_run")
    names = {lever.name for lever in levers(asked)}
    assert {"price of h800-sxm", "scale_out_bandwidth of h800-sxm"} <= names
    gemm = next(name for name in names if name.startswith("law gemm/fp8"))
    assert asked.at({gemm: 1.2}) > asked.value


def test_the_sensitivity_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["sensitivity", "h20-96g", "h800-sxm", "--draws", "40"]
    assert cli.main([*argv, "--json", "--out", str(tmp_path / "s.html")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ranking"][0]["draws"] == 40
    assert answer["tornado"]["bars"]
    assert cli.main(argv) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    for bad in (["sensitivity", "h900"], ["sensitivity", "h800-sxm", "--draws", "3"],
                ["sensitivity", "h800-sxm", "--metric", "joy"],
                ["sensitivity", "h800-sxm", "--context", "0"]):  # fmt: skip
        assert cli.main(bad) == 2
        assert capsys.readouterr().err.count("\n") == 1


STRANGE = (None, "x", "", -1, 0, 1e308, 1e-300, [], {}, True, "a" * 5000, 2.5, 10**400, "../../etc/passwd", "nan", [1])


@pytest.mark.parametrize("argv", [["infer"], ["infer", "--phase", "serving"], ["train"], ["posttrain"]],
                         ids=["decode", "serving", "training", "post"])  # fmt: skip
def test_spoilt_reports_are_refused_in_one_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Any one value of a report's inputs replaced by nonsense: an answer or BadInput, never another error."""
    assert cli.main([*argv, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    rng = random.Random(0)
    places = [("inputs", key) for key in document["inputs"]] + [("metrics", key) for key in document["metrics"]]
    places += [("inputs", part, key) for part in ("plan", "load", "price") for key in document["inputs"][part]]
    refused = []
    for place in rng.sample(places, min(len(places), 25)):
        spoilt = json.loads(json.dumps(document))
        node = spoilt
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = rng.choice(STRANGE)
        try:
            asked = of_report(spoilt, "spoilt")
            ask(asked.kind, asked.values)
        except BadInput as error:
            said = str(error)
            refused.append(said)
    assert refused
    assert all("\n" not in said and len(said) < 600 for said in refused)


def test_a_report_of_an_own_chip_is_asked_again_where_its_file_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report names the chip, not the file: the file is found by what it says, whatever it is called."""
    text = (ACCELERATORS / "h800-sxm.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text.replace('id = "h800-sxm"', 'id = "dragon-1"'), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name, chip in (("a", "mine.toml"), ("b", "h800-sxm")):
        assert cli.main(["infer", "--accelerator", chip, "--gpus", "32", "--batch-per-gpu", "32", "--price", "2USD/h",
                         "--out", f"{name}.json"]) == 0  # fmt: skip
    assert read_question("a.json").values["accelerator"] == "dragon-1"
    capsys.readouterr()
    assert cli.main(["diff", "a.json", "b.json", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["changed"]) == {"accelerator"}
    for metric in found["metrics"].values():
        assert sum(part["part"] for part in metric["parts"]) == pytest.approx(metric["difference"], abs=1e-12)
    assert cli.main(["sensitivity", "a.json", "--draws", "20"]) == 0
    assert "price of dragon-1" in capsys.readouterr().out
    (tmp_path / "mine.toml").unlink()
    assert cli.main(["diff", "a.json", "b.json"]) == 2
    assert "dragon-1" in capsys.readouterr().err
