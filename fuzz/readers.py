"""Readers of user data as functions of a path: imported when first used, or reached inside a verb or a library call."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from costsim.errors import BadInput

Read = Callable[[Path], Any]


def imported(module: str, name: str, *after: Any, wrap: Callable[[Path], Any] = lambda path: path) -> Read:
    """A reader that is imported when it is first used."""

    @lru_cache(maxsize=1)
    def function() -> Callable[..., Any]:
        import importlib

        return getattr(importlib.import_module(module), name)

    return lambda path: function()(wrap(path), *after)


def prices(path: Path) -> Any:
    from costsim.spec.base import build, read_toml
    from costsim.spec.price import Price

    entries = read_toml(path, "prices").get("price", [])
    if not isinstance(entries, list):
        raise BadInput("prices: a list of [[price]] is needed")
    return [build(Price, entry, "prices.toml") for entry in entries]


def draft(path: Path) -> Any:
    from costsim.calibration.draft import drafted
    from costsim.calibration.measurement import read_measurements

    return drafted("my-chip", read_measurements(path), {})


def facts(path: Path) -> Any:
    from costsim.calibration.draft import drafted
    from costsim.calibration.measurement import Measurement
    from costsim.cli.calibrate import _facts

    told = _facts(argparse.Namespace(facts=str(path), measurements=[str(path)]))
    rows = [Measurement("gemm", "bf16", 1e-3, "x", flop=1e12, bytes=1e9, shape={"m": 4096.0, "n": 4096.0, "k": 4096.0})]
    rows += [Measurement("memory_stream", "bytes", 1e-3, "x", bytes=1e9, shape={"rows": 1e6})]
    return drafted("my-chip", rows, told)


def own_laws(path: Path) -> Any:
    from costsim.calibration.store import own_calibration
    from costsim.predict.inference import predict_inference
    from costsim.spec.catalog import load_accelerator, load_model
    from costsim.spec.plan import DecodeLoad, ServingPlan

    own_calibration(str(path), "h800-sxm")
    chip = load_accelerator("h800-sxm").model_copy(update={"calibration": str(path)})
    report = predict_inference(load_model("deepseek-v2-lite"), chip, ServingPlan(8, ep=8), DecodeLoad(1024, 8))
    own_calibration.cache_clear()
    return report


def bands(path: Path) -> Any:
    from costsim.calibration.transfer import read_bands

    return read_bands(path)


def present(path: Path) -> Any:
    from costsim.cli.place import _present
    from costsim.placement.placement import Shape

    return _present(str(path), Shape(experts=8, slots=8, gpus=2, nodes=1, groups=1), 2)


def trace(path: Path) -> Any:
    from costsim.trace.analyse import analyse
    from costsim.trace.read import read_trace
    from costsim.trace.work import work_of

    return analyse(work_of(read_trace(path)))


def clients(path: Path) -> Any:
    from costsim.serving.clients import read_clients

    return read_clients(path).draw(0.0, 600.0)


def deepep(path: Path) -> Any:
    from costsim.calibration.sources.deepep import Setup, read

    return read(path, Setup(ranks=16, tokens=4096, hidden=7168, top_k=8, experts=256))


def resumed(path: Path) -> Any:
    from costsim.explore.sweep import finished

    return finished(path.parent, {"a", "b"})


def model_config(path: Path) -> Any:
    from model.config import ConfigError, DeepSeekConfig

    try:
        return DeepSeekConfig.from_hf(path.parent)
    except ConfigError as error:
        raise BadInput(str(error)) from None


def megatron(path: Path) -> Any:
    from costsim.spec.base import read_text
    from costsim.spec.catalog import load_model
    from costsim.spec.megatron import read_megatron

    return read_megatron(read_text(path, "job"), load_model("deepseek-v2-lite"), path.name)


def report(path: Path) -> Any:
    from costsim.explore.inputs import answer, read_question

    question = read_question(str(path))
    return answer(question.kind, question.values)


def state(path: Path) -> Any:
    """A link's query, as the dashboard reads it, on every page."""
    import json

    from dashboards import state
    from dashboards.pages import all_pages

    try:
        query = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise BadInput("no query") from None
    given = {str(key): str(value) for key, value in query.items()} if isinstance(query, dict) else {"m": str(query)}
    return [state.checked(page, given, by_short=True) for page in all_pages().values()]


def upload(path: Path) -> Any:
    """A question that a reader of the dashboard uploads."""
    from dashboards import state, uploads
    from dashboards.pages import all_pages

    data = uploads.table_of(path.read_bytes())
    values = data.get("values", {})
    if not isinstance(values, dict):
        raise BadInput("values: a table is needed")
    return [state.checked(page, values, by_short=False) for page in all_pages().values()]


def chip(path: Path) -> Any:
    from costsim.spec.accelerator import Accelerator
    from costsim.spec.base import build
    from dashboards import uploads

    return build(Accelerator, uploads.table_of(path.read_bytes()), "your chip")


def checkpoint(path: Path) -> Any:
    from contextlib import ExitStack

    from model.checkpoint import CheckpointError, _open

    with ExitStack() as stack:
        try:
            return _open(path.parent, stack)
        except CheckpointError as error:
            raise BadInput(str(error)) from None
