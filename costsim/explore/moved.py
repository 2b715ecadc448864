"""A question with its inputs moved: laws, bandwidths, peaks and price by factors, everything else as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from costsim.calibration.store import Laws
from costsim.economics.cost import usd_per_mtok
from costsim.errors import NothingFound, NotModelled
from costsim.explore.inputs import SERVING, Question, ask, part_id
from costsim.num import Num
from costsim.predict.phases import Setting, decode, prefill, setting_for
from costsim.predict.report import Report
from costsim.predict.steady import serve
from costsim.predict.training.setting import TrainingSetting, training_setting
from costsim.predict.training.step import closed_form
from costsim.spec.accelerator import Accelerator
from costsim.spec.catalog import load_accelerator, load_cluster, load_model
from costsim.spec.cluster import standard_cluster
from costsim.spec.plan import DecodeLoad, PrefillLoad, ServingLoad, ServingPlan, TrainingLoad, TrainingPlan
from costsim.timing.device import Correction, Device, FittedLaw

#: levers on a device, in the words of the datasheet
FIELDS = ("memory_bandwidth", "peak", "scale_up_bandwidth", "scale_out_bandwidth")
Moves = Mapping[str, float]


@dataclass(frozen=True)
class _Scaled:
    """A law's correction, ``by`` times as long."""

    inner: Correction | None
    by: float

    def factor(self, shape: Mapping[str, Num]) -> Num:
        return self.by * (1.0 if self.inner is None else self.inner.factor(shape))


class MovedLaws(Mapping[str, FittedLaw]):
    """Laws whose seconds are multiplied; a law is named by where it was measured and what it times."""

    def __init__(self, base: Mapping[str, FittedLaw], moves: Moves) -> None:
        self._base, self._moves = base, moves
        self.asked: dict[str, FittedLaw] = {}

    def __getitem__(self, key: str) -> FittedLaw:
        fitted = self._base[key]
        name = law_name(fitted, key)
        self.asked[name] = fitted
        by = self._moves.get(name, 1.0)
        return fitted if by == 1.0 else replace(fitted, correction=_Scaled(fitted.correction, by))

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)


def law_name(fitted: FittedLaw, key: str) -> str:
    """``law gemm/fp8 of h800-sxm``: answers that use one law share its error."""
    return f"law {key} of {fitted.origin or 'nowhere'}"


def moved_device(device: Device, moves: Moves, precision: str) -> tuple[Device, MovedLaws]:
    """The device with factors on what the datasheet states and on its laws."""
    laws = MovedLaws(device.laws, moves)
    by = {name: moves.get(f"{name} of {device.id}", 1.0) for name in FIELDS}
    peaks = {dtype: peak * (by["peak"] if dtype == precision else 1.0) for dtype, peak in device.peaks.items()}
    up = None if device.up is None else device.up * by["scale_up_bandwidth"]
    out = None if device.out is None else device.out * by["scale_out_bandwidth"]
    bandwidth = device.bandwidth * by["memory_bandwidth"]
    return replace(device, peaks=peaks, bandwidth=bandwidth, up=up, out=out, laws=laws), laws


class Asked:
    """A question that can be asked many times with moved inputs; ``metric`` of it, relative to the whole report."""

    def __init__(self, question: Question, metric: str) -> None:
        if question.kind not in (*SERVING, "training"):
            raise NotModelled(f"{question.name}: sensitivity moves serving and training questions, not {question.kind}")
        self.question, self.metric = question, metric
        self.report: Report = ask(question.kind, question.values)
        if metric not in self.report.metrics:
            from costsim.errors import UnknownName

            raise UnknownName("metric", metric, list(self.report.metrics))
        self.value = self.report[metric]
        values = question.values
        self._model, self._chip = load_model(part_id(values, "model")), load_accelerator(part_id(values, "accelerator"))
        self._cluster = None if values.get("cluster") is None else load_cluster(values["cluster"])
        self._plan = {key[5:]: value for key, value in values.items() if key.startswith("plan.")}
        self._load = {key[5:]: value for key, value in values.items() if key.startswith("load.")}
        self.laws: dict[str, FittedLaw] = {}
        self._time = self._training() if question.kind == "training" else self._serving()
        self._base = self._time({})
        if not self._base > 0:
            raise NothingFound(f"{metric}: does not follow from the time of a step, so no input moves it here")

    @property
    def chip(self) -> Accelerator:
        return self._chip

    def at(self, moves: Moves) -> float:
        """The metric with these inputs moved: times and money grow with the step, rates fall."""
        ratio = self._time(moves) / self._base * moves.get(f"system of {self._chip.id}", 1.0)
        if self.metric.startswith("usd"):
            return self.value * ratio * moves.get(f"price of {self._chip.id}", 1.0)
        return self.value / ratio if falling(self.metric) else self.value * ratio

    def _serving(self) -> Callable[[Moves], float]:
        plan, load = ServingPlan(**self._plan), SERVING[self.question.kind](**self._load)
        setting = setting_for(self._model, self._chip, plan, self._cluster)
        setting = replace(setting, device=replace(setting.device, laws=Laws(self._chip)))

        def time(moves: Moves) -> float:
            device, laws = moved_device(setting.device, moves, plan.precision)
            kept = moves.get("acceptance")
            asked: Any = load if kept is None else replace(load, mtp_acceptance=kept)
            seconds = _serving_s(replace(setting, device=device), asked, self.metric)
            self.laws |= laws.asked
            return seconds

        return time

    def _training(self) -> Callable[[Moves], float]:
        plan, load = TrainingPlan(**self._plan), TrainingLoad(**self._load)
        cluster = self._cluster or standard_cluster(self._chip, int(plan.gpus))
        setting: TrainingSetting = training_setting(self._model, self._chip, plan, load, cluster)

        def time(moves: Moves) -> float:
            device, laws = moved_device(setting.device, moves, plan.precision)
            step = closed_form(replace(setting, device=device), [])
            self.laws |= laws.asked
            return float(np.max(np.asarray(step.step_s)))

        return time


def falling(metric: str) -> bool:
    """Whether more seconds mean less of it."""
    return metric.startswith(("tokens_per", "output_tokens", "mfu", "mbu", "tflops"))


def lower_is_better(metric: str) -> bool:
    return not falling(metric)


def _serving_s(setting: Setting, load: PrefillLoad | DecodeLoad | ServingLoad, metric: str) -> float:
    """Seconds that the metric is proportional to, or inversely."""
    if isinstance(load, ServingLoad):
        blend = serve(setting, load)
        if metric in blend.metrics:
            value = float(np.max(np.asarray(blend.metrics[metric][0])))
            return 1.0 / value if falling(metric) else value
        phase = blend.prefill if metric.endswith("input") else blend.decode
        return float(np.max(np.asarray(usd_per_mtok(1.0, phase.tokens_per_s))))
    phase = prefill(setting, load) if isinstance(load, PrefillLoad) else decode(setting, load)
    if metric.startswith("tokens_per_s_per_user") or metric == "tpot_s":
        return float(np.max(np.asarray(phase.step_s / phase.tokens_per_step)))
    return float(np.max(np.asarray(1.0 / phase.tokens_per_s)))
