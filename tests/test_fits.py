"""What a refusal names as its cure is computed: it fits with it, and not with a little more."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from costsim.cli.main import main
from costsim.errors import BadInput, DoesNotFit
from costsim.predict.engine import engine_for
from costsim.predict.handover import START_S, handover, kv_bytes_per_token, rank_bytes
from costsim.predict.inference import predict_inference
from costsim.predict.overlap import better_overlap
from costsim.predict.phases import setting_for
from costsim.serving.policy import Policy
from costsim.spec.catalog import load_accelerator, load_model
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad, ServingPlan

MODEL = load_model("deepseek-v3")


def cured(message: str, plan: ServingPlan, load: Any) -> list[tuple[ServingPlan, Any, dict[str, str]]]:
    """Plan and load with every way that a refusal names, and the way."""
    assert "it fits with " in message, message
    ways = []
    for way in message.split("it fits with ")[1].split(", or with "):
        changes = dict(re.findall(r"(\w+) = ([\w.]+)", way))
        typed = {name: float(v) if re.fullmatch(r"[\d.]+", v) else v for name, v in changes.items()}
        own = {field.name for field in fields(plan)}
        loaded = {name: v for name, v in typed.items() if name not in own}
        if "mtp_tokens" in loaded:
            loaded["mtp_acceptance"] = 0.0
        made = replace(load, **loaded) if load is not None else None  # type: ignore[type-var]
        ways.append((replace(plan, **{n: v for n, v in typed.items() if n in own}), made, changes))
    return ways


def random_question(rng: np.random.Generator) -> tuple[str, ServingPlan, Any]:
    chip = str(rng.choice(["h800-sxm", "h100-sxm", "h20-96g", "h200-sxm", "b200-sxm"]))
    gpus = int(rng.choice([4, 8, 16, 32]))
    tp = int(rng.choice([1, 8])) if gpus >= 8 else 1
    ep = int(rng.choice([1, gpus]))
    precision = str(rng.choice(["fp8", "bf16"]))
    plan = ServingPlan(gpus, tp=tp, ep=ep, precision=precision, redundant_experts=int(rng.choice([0, gpus])))  # type: ignore[arg-type]
    if rng.random() < 0.6:
        drafts = float(rng.choice([0, 1]))
        load: Any = DecodeLoad(float(rng.choice([4096, 65536])), float(rng.choice([4, 64, 512])), drafts, 0.8 * drafts)
    elif rng.random() < 0.5:
        load = PrefillLoad(4096, float(rng.choice([8192, 10**6])))
    else:
        load = ServingLoad(1024, 1024, 16)
    return chip, plan, load


@pytest.mark.parametrize("seed", range(24))
def test_every_cure_that_is_named_works(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(200):
        name, plan, load = random_question(rng)
        chip = load_accelerator(name)
        try:
            predict_inference(MODEL, chip, plan, load)
        except DoesNotFit as error:
            message = str(error)
            break
        except BadInput:
            continue
    if "it fits with" not in message:
        assert "no change of" in message
        return
    for better, lower, changes in cured(message, plan, load):
        predict_inference(MODEL, chip, better, lower)  # raises where it does not fit
        for key in ("batch_per_gpu", "tokens_per_gpu", "context"):
            if key in changes:
                more = replace(lower, **{key: float(changes[key]) + 1})  # type: ignore[type-var]
                with pytest.raises(DoesNotFit):
                    predict_inference(MODEL, chip, better, more)


def test_the_replica_of_an_engine_is_cured_too() -> None:
    chip, plan = load_accelerator("h100-sxm"), ServingPlan(8, tp=8, routing="default")
    with pytest.raises(DoesNotFit) as refused:
        engine_for(setting_for(MODEL, chip, plan), Policy())
    for better, _, _ in cured(str(refused.value), plan, None):
        engine_for(setting_for(MODEL, chip, better), Policy())


def test_the_default_question_on_too_few_cards_is_told_its_batch(capsys: pytest.CaptureFixture[str]) -> None:
    """The batch is what is wrong, not ep: with what the refusal names the verb answers."""
    assert main(["infer", "--gpus", "32"]) == 2
    batch = re.search(r"batch_per_gpu = (\d+)", capsys.readouterr().err)
    assert batch is not None
    assert main(["infer", "--gpus", "32", "--batch-per-gpu", batch[1]]) == 0
    assert main(["infer", "--gpus", "32", "--batch-per-gpu", str(int(batch[1]) + 1)]) == 2


@pytest.mark.parametrize("accelerator", ["h800-sxm", "h20-96g", "gb200-nvl72", "ascend-910c"])
@pytest.mark.parametrize("batch", [2, 32, 128])
def test_the_overlap_that_is_chosen_is_the_faster_one(accelerator: str, batch: int) -> None:
    chip = load_accelerator(accelerator)
    precision = "fp8" if chip.known("fp8") else "int8"
    plan, load = ServingPlan(128, ep=128 * chip.dies, precision=precision), DecodeLoad(4096, batch)  # type: ignore[arg-type]
    chosen, words = better_overlap(MODEL, chip, plan, load)
    steps = {}
    for overlap in ("none", "two-batch"):
        try:
            steps[overlap] = predict_inference(MODEL, chip, replace(plan, overlap=overlap), load)["step_s"]  # type: ignore[arg-type]
        except BadInput:
            continue
    assert chosen.overlap == min(steps, key=lambda name: steps[name])
    assert chosen.overlap in words


def test_kv_crosses_once_whatever_the_width_and_the_slower_end_counts() -> None:
    """V3's latent: 61 layers of 576 numbers in two bytes, 70,272 bytes a token; no link beats its datasheet."""
    fast, slow = (load_accelerator(name) for name in ("h800-sxm", "h20-96g"))
    ends = [setting_for(MODEL, fast, ServingPlan(8, tp=tp, ep=8)) for tp in (1, 8)]
    for end, tp in zip(ends, (1, 8), strict=True):
        assert kv_bytes_per_token(end) == pytest.approx(61 * 576 * 2)
        assert rank_bytes(end, 1000) * tp == pytest.approx(1000 * 61 * 576 * 2)
    other = setting_for(MODEL, slow, ServingPlan(8, tp=1, ep=8))
    for tokens in (100, 4096, 100_000):
        both = handover(ends[0], other)(tokens)
        assert both == handover(other, ends[0])(tokens)
        assert both == max(handover(ends[0], ends[0])(tokens), handover(other, other)(tokens))
        assert both >= START_S + rank_bytes(ends[0], tokens) / fast.need("scale_out_bandwidth")
        assert handover(ends[1], ends[1])(tokens) < both
    grouped = load_model("qwen3-235b-a22b")
    wide = setting_for(grouped, fast, ServingPlan(8, tp=8))
    assert rank_bytes(wide, 1) * 4 == pytest.approx(94 * 4 * 128 * 2 * 2), "four KV heads; eight ranks hold each twice"
