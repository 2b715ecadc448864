"""`costsim models`: the models of the catalog, with exact parameter counts, KV-cache and checkpoint bytes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from costsim.cli.catalogs import add_action, checked_action, kept
from costsim.cli.output import finish

if TYPE_CHECKING:
    from costsim.report.document import Content, Document
    from costsim.spec.model import ModelSpec

NAME = "models"
HELP = "models: list them, or show one with its parameters, KV-cache and checkpoint bytes"
EXAMPLE = """
costsim models list
costsim models list qwen
costsim models show deepseek-v3 --json
"""


def configure(parser: argparse.ArgumentParser) -> None:
    add_action(parser, "model")


def run(args: argparse.Namespace) -> int:
    from costsim.spec.catalog import MODELS, load_model, names

    if checked_action(args, NAME, "model") == "show":
        return finish(args, shown(load_model(args.id)))
    return finish(args, listed([load_model(name) for name in kept(names(MODELS), args.id, "model")]))


def sizes(model: ModelSpec) -> dict[str, Any]:
    """Counts and bytes, as the contract has them."""
    from costsim.physics import parameters as physics

    counts = physics.parameters(model)
    return {
        "params": {
            "total": counts.total,
            "mtp": counts.total_with_mtp - counts.total,
            "active": counts.active,
            "active_without_input_embedding": counts.active_without_input_embedding,
            "router_bias": counts.router_bias_total,
        },
        "kv_bytes_per_token": {
            dtype: physics.kv_bytes_per_token(model, dtype) for dtype in physics.KV_ELEMENT_BYTES if dtype != "fp16"
        },
        "checkpoint_bytes": {dtype: physics.checkpoint_bytes(model, dtype) for dtype in physics.CHECKPOINT_DTYPES},
    }


def shown(model: ModelSpec) -> Document:
    """One model: its counts, its bytes and its shape."""
    from costsim.report.document import Cell, Document, Section, Table
    from costsim.report.words import label, number, quantity

    size = sizes(model)
    counts: list[list[Content]] = [[label(key), value] for key, value in size["params"].items()]
    stored: list[list[Content]] = [
        [dtype, Cell(quantity(value, "B"), value)] for dtype, value in size["checkpoint_bytes"].items()
    ]
    cached: list[list[Content]] = [
        [dtype, Cell(f"{number(value)} B", value)] for dtype, value in size["kv_bytes_per_token"].items()
    ]
    shape: list[list[Content]] = [[label(key), str(value)] for key, value in _shape(model).items()]
    sections = [
        Section("Parameters", (), [Table(("what", "count"), counts)]),
        Section("Checkpoint by format of the weights", (), [Table(("dtype", "size"), stored)]),
        Section("KV cache for one token, all layers", (), [Table(("dtype", "size"), cached)]),
        Section("Shape", [model.notes] if model.notes else [], [Table(("field", "value"), shape)]),
    ]
    payload = {"id": model.id, "name": model.name, **size, "spec": model.model_dump()}
    rows = [
        {"part": part, "name": key, "value": value} for part, values in size.items() for key, value in values.items()
    ]
    return Document(f"{model.id}: {model.name}", sections, payload, rows=rows)


def _shape(model: ModelSpec) -> dict[str, Any]:
    shape = model.model_dump(exclude={"id", "name", "notes", "attention", "moe"})
    for part in ("attention", "moe"):
        inner = getattr(model, part)
        shape |= {} if inner is None else {f"{part} {key}": value for key, value in inner.model_dump().items()}
    return {key: value for key, value in shape.items() if value not in ("", 0, False, None)}


def listed(models: list[ModelSpec]) -> Document:
    """The catalog, a row per model."""
    from costsim.report.document import Cell, Document, Section, Table
    from costsim.report.words import number

    rows: list[list[Content]] = []
    flat: list[dict[str, Any]] = []
    for model in models:
        size = sizes(model)
        total, active = size["params"]["total"], size["params"]["active"]
        kv = size["kv_bytes_per_token"]["bf16"]
        experts = f"{model.moe.top_k} of {model.moe.experts}" if model.moe else "dense"
        rows.append([
            model.id, Cell(_billions(total), total), Cell(_billions(active), active), model.layers,
            model.attention.kind, experts, Cell(number(kv), kv), model.native_dtype,
        ])  # fmt: skip
        flat.append({
            "id": model.id, "name": model.name, "total": total, "active": active, "layers": model.layers,
            "hidden": model.hidden, "attention": model.attention.kind, "experts": model.moe.experts if model.moe else 0,
            "top_k": model.moe.top_k if model.moe else 0, "kv_bytes_per_token_bf16": kv,
            "native_dtype": model.native_dtype,
        })  # fmt: skip
    columns = ("id", "total", "active", "layers", "attn", "experts", "KV bytes", "native")
    table = Table(columns, rows)
    return Document(f"{len(models)} models", [Section("", (), [table])], {"models": flat}, rows=flat)


def _billions(count: int) -> str:
    from costsim.units import GIGA

    return f"{count / GIGA:,.1f} B" if count < 100 * GIGA else f"{count / GIGA:,.0f} B"
