"""What a training question stands on: words resolved, the model as cut, shares of a rank, and every rule a plan can
break."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costsim.calibration.store import cores_of, device_for
from costsim.errors import NotModelled, OutOfRange
from costsim.num import Num
from costsim.physics.training.passes import Recipe
from costsim.physics.training.recompute import recomputed_tensors
from costsim.physics.training.shard import Shard
from costsim.physics.training.states import Convention
from costsim.predict.layout import Rule, _divides, _whole, comm_sms_rule, imbalance_rule, positive
from costsim.predict.training.constants import TrainingConstants, laws_of_ratios, training_constants
from costsim.spec.accelerator import Accelerator
from costsim.spec.cluster import Cluster
from costsim.spec.model import ModelSpec
from costsim.spec.plan import (
    DISPATCHERS,
    FRAMEWORKS,
    GRAPHS,
    ROUTINGS,
    SCHEDULE_WORDS,
    TRAINING_OVERLAPS,
    TRAINING_PRECISIONS,
    TrainingLoad,
    TrainingPlan,
)
from costsim.timing.device import Device

#: spellings of schedules in papers and job scripts
_SCHEDULE_ALIAS = {
    "interleaved-1f1b": "interleaved", "zb1p": "zb-h1", "zbh1": "zb-h1", "zero-bubble": "zb-h1",
}  # fmt: skip
#: cores that overlapped dispatch and combine take [deepseek-v3-report, sec. 3.2.2]
PAIR_SMS = 20.0


@dataclass(frozen=True)
class TrainingSetting:
    """A resolved plan on its cluster. Numbers broadcast; words are single."""

    model: ModelSpec
    chip: Accelerator
    plan: TrainingPlan
    load: TrainingLoad
    cluster: Cluster
    device: Device
    constants: TrainingConstants
    shard: Shard
    recipe: Recipe
    convention: Convention
    policy: frozenset[str]
    schedule: str
    overlap: str
    ranks: Num

    @property
    def dp(self) -> Num:
        """Data-parallel width."""
        return self.ranks / (as_array(self.plan.tp) * self.plan.pp * self.plan.cp)

    @property
    def expert_dp(self) -> Num:
        """Ranks that hold the same experts, in one direction of the pipeline."""
        return self.ranks / (as_array(self.plan.pp) * self.shard.ep * self.shard.moe_tp)

    @property
    def micro_batches(self) -> Num:
        """Micro-batches of one data-parallel rank in a step."""
        return as_array(self.load.global_batch) / (self.dp * as_array(self.load.micro_batch))

    @property
    def mirrored(self) -> bool:
        """DualPipe keeps each layer on two ranks."""
        return self.schedule == "dualpipe"

    @property
    def pair_share(self) -> Num:
        """Cores left beside overlapped transfers."""
        sms = PAIR_SMS / 132.0 * self.device.cores if self.plan.comm_sms is None else as_array(self.plan.comm_sms)
        return 1.0 - sms / self.device.cores


def as_array(value: Num) -> NDArray[np.float64]:
    return np.asarray(value, dtype=float)


def schedule_word(plan: TrainingPlan) -> str:
    """The schedule by its one name."""
    word = _SCHEDULE_ALIAS.get(plan.schedule, plan.schedule)
    if word not in SCHEDULE_WORDS:
        raise OutOfRange(f"schedule: {plan.schedule[:40]!r} is not one of {', '.join(SCHEDULE_WORDS)}")
    if word == "auto":
        return "interleaved" if bool(np.any(as_array(plan.vpp) > 1)) else "1f1b"
    return word


def check_words(plan: TrainingPlan, chip: Accelerator) -> None:
    """Refuse words that no list holds and number formats that the chip lacks."""
    for field, value, known in (
        ("precision", plan.precision, TRAINING_PRECISIONS),
        ("routing", plan.routing, ROUTINGS),
        ("overlap", plan.overlap, TRAINING_OVERLAPS),
        ("framework", plan.framework, FRAMEWORKS),
        ("dispatcher", plan.dispatcher, DISPATCHERS),
        ("graphs", plan.graphs, GRAPHS),
    ):
        if value not in known:
            raise OutOfRange(f"{field}: {str(value)[:40]!r} is not one of {', '.join(known)}")
    schedule_word(plan)
    recomputed_tensors(plan.recompute)
    chip.peak(plan.precision)


def cut_layers(model: ModelSpec, layers: int) -> ModelSpec:
    """The model with ``layers`` layers, as single-node experiments run it: dense ones in proportion, at least one
    where it has any, and no MTP."""
    moe = model.moe
    if moe is not None and moe.first_dense:
        kept = min(max(round(moe.first_dense * layers / model.layers), 1), layers)
        moe = moe.model_copy(update={"first_dense": kept})
    return model.model_copy(update={"layers": layers, "moe": moe, "mtp_layers": 0})


def training_setting(
    model: ModelSpec, chip: Accelerator, plan: TrainingPlan, load: TrainingLoad, cluster: Cluster
) -> TrainingSetting:
    """Resolve a plan. Raises BadInput for unknown words."""
    check_words(plan, chip)
    if model.linear is not None:
        raise NotModelled(f"{model.id}: linear attention is predicted in inference only, not in training")
    if plan.layers is not None and plan.layers != model.layers:
        if not 1 <= plan.layers <= model.layers:
            raise OutOfRange(f"layers = {plan.layers}: {model.id} has 1 to {model.layers}")
        model = cut_layers(model, int(plan.layers))
    schedule = schedule_word(plan)
    dual = schedule in ("dualpipe", "dualpipev")
    overlap = plan.overlap if plan.overlap != "auto" else ("pair" if dual else "gradients")
    deepseek = plan.framework == "deepseek" or (plan.framework == "auto" and dual)
    recipe = Recipe(
        plan.precision, block_scaled=deepseek, eight_bit_dispatch=deepseek and plan.precision == "fp8",
        copies=_copies(plan, deepseek, overlap), split_norm=not deepseek,
        grad_bytes=4.0 if deepseek or plan.precision == "bf16" else 2.0,
    )  # fmt: skip
    ranks = as_array(plan.gpus) * chip.dies
    constants = training_constants(chip)
    return TrainingSetting(
        model=model, chip=chip, plan=plan, load=load, cluster=cluster,
        device=device_for(chip, cluster, laws_of_ratios(chip, constants)), constants=constants,
        shard=_shard(model, chip, plan, load, cluster), recipe=recipe,
        convention=_convention(deepseek, plan.precision), policy=recomputed_tensors(plan.recompute),
        schedule=schedule, overlap=overlap, ranks=ranks,
    )  # fmt: skip


def _copies(plan: TrainingPlan, deepseek: bool, overlap: str) -> bool:
    """Whether a token travels once for each of its experts."""
    if plan.dispatcher != "auto":
        return plan.dispatcher == "alltoall"
    return not deepseek and overlap == "none"


def _convention(deepseek: bool, precision: str) -> Convention:
    if deepseek:
        return Convention(moment_bytes=4.0, placeholders=False, eight_bit_copy=1.0 if precision == "fp8" else 0.0)
    if precision == "fp8":
        return Convention(weight_bytes=0.0, gradient_bytes=2.0, eight_bit_copy=2.0)
    if precision == "fp4":
        # Weights stay in 16 bits, with packed copies and their scales both ways round.
        return Convention(gradient_bytes=2.0, eight_bit_copy=1.125)
    return Convention()


def _shard(model: ModelSpec, chip: Accelerator, plan: TrainingPlan, load: TrainingLoad, cluster: Cluster) -> Shard:
    """Training spreads experts over data-parallel ranks: they are whole wherever ep > 1."""
    ep = as_array(plan.ep) if model.moe else np.ones_like(as_array(plan.ep))
    sequences, seq, cp = as_array(load.micro_batch), as_array(load.seq), as_array(plan.cp)
    return Shard(
        tokens=sequences * seq / cp, seq=seq, sequences=sequences, tp=as_array(plan.tp), cp=cp, ep=ep,
        moe_tp=np.where(ep > 1, 1.0, as_array(plan.tp)) if model.moe else np.ones_like(ep),
        slots=np.maximum(model.moe.experts / ep, 1.0) if model.moe else np.ones_like(ep),
        domain=float(cluster.scale_up_domain * chip.dies), routing=plan.routing,
        imbalance=None if plan.imbalance is None else as_array(plan.imbalance),
    )  # fmt: skip


def training_rules(model: ModelSpec, chip: Accelerator, plan: TrainingPlan, load: TrainingLoad) -> list[Rule]:
    """Every rule a training layout can break."""
    rules = [_whole(name, getattr(plan, name)) for name in ("gpus", "tp", "pp", "vpp", "ep", "cp")]
    rules += [_whole("zero", plan.zero, 0.0), _whole("micro_batch", load.micro_batch)]
    rules += [_whole("global_batch", load.global_batch), *positive({"seq": load.seq})]
    ranks = as_array(plan.gpus) * chip.dies
    with np.errstate(divide="ignore", invalid="ignore"):
        dp = ranks / (as_array(plan.tp) * as_array(plan.pp) * as_array(plan.cp))
    rules += [
        _divides("tp", plan.tp, "attention heads", model.attention.heads),
        _divides("tp × pp × cp", as_array(plan.tp) * plan.pp * plan.cp, "gpus", ranks),
        _divides("micro_batch × dp", as_array(load.micro_batch) * dp, "global_batch", load.global_batch),
        _divides("cp", plan.cp, "seq", load.seq),
    ]
    if plan.comm_sms is not None:
        rules.append(comm_sms_rule(plan.comm_sms, cores_of(chip)))
    beyond = "zero: must be 0, 1, 2 or 3 (what dp ranks shard: optimiser state, gradients, weights)"
    rules.append(Rule("zero stage unknown", beyond, as_array(plan.zero) > 3))
    layers = plan.layers or model.layers
    # Embedding and head may each have a stage of their own.
    deep = as_array(plan.pp) * plan.vpp > layers + model.mtp_layers + 2
    rules.append(Rule("pp × vpp exceeds layers", f"pp × vpp exceeds the {layers} layers of {model.id}", deep))
    rules += _schedule_rules(plan, load, dp)
    if model.moe is None:
        rules.append(Rule("ep on a dense model", f"ep: {model.id} has no experts; use ep = 1", as_array(plan.ep) > 1))
    else:
        rules += [
            _divides("ep", plan.ep, "experts", model.moe.experts),
            _divides("ep", plan.ep, "gpus / pp", ranks / np.maximum(as_array(plan.pp), 1)),
        ]
        if plan.imbalance is not None:
            rules.append(imbalance_rule(plan.imbalance, plan.ep))
    return rules


def _schedule_rules(plan: TrainingPlan, load: TrainingLoad, dp: Num) -> list[Rule]:
    """What a schedule asks of pp and of the number of micro-batches."""
    word, pp = schedule_word(plan), as_array(plan.pp)
    with np.errstate(divide="ignore", invalid="ignore"):
        m = as_array(load.global_batch) / (dp * as_array(load.micro_batch))
    rules = []
    if word in ("dualpipe", "dualpipev"):
        least = 2.0 * pp
        rules.append(
            Rule("odd pp under DualPipe", "pp: DualPipe pairs stages from both ends; give an even pp",
                 np.asarray((pp % 2 != 0) & (word == "dualpipe")))
        )  # fmt: skip
        few = f"{word} needs an even number of micro-batches, at least 2·pp; raise global_batch or lower pp"
        rules.append(Rule("too few micro-batches for DualPipe", few, np.asarray((m < least) | (m % 2 != 0))))
    alone = np.asarray((pp > 1) & (as_array(plan.vpp) <= 1) & (plan.overlap == "pair"))
    if word not in ("dualpipe", "dualpipev"):
        # Neighbours whose warm-ups differ by one forward would run their pairs in turn. [megatron-core-moe]
        message = "overlap: pair needs interleaved stages (vpp > 1), dualpipe or dualpipev where pp > 1"
        rules.append(Rule("pairs without interleaving", message, alone))
    if word != "interleaved":
        message = f"vpp: schedule {word} has one stage a rank; use interleaved for vpp > 1"
        rules.append(Rule("vpp without interleaving", message, as_array(plan.vpp) > 1))
    else:
        first, stages = float(m.flat[0]), float(pp.flat[0])
        near = stages * max(np.round(first / stages), 1.0) if np.isfinite(first) and stages >= 1 else 1.0
        message = (
            f"interleaved: {first:g} micro-batches on a data-parallel rank must be a multiple of pp = {stages:g}; "
            f"global_batch × {near / first if first else 1.0:g} gives {near:g}"
        )
        ragged = np.asarray((m % np.maximum(pp, 1.0) != 0) & (as_array(plan.vpp) > 1))
        rules.append(Rule("micro-batches not a multiple of pp", message, ragged))
    return rules
