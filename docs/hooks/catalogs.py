"""What the catalogs hold: accelerators, models, prices, as tables from the files themselves."""

from __future__ import annotations

from costsim.physics.parameters import parameters
from costsim.spec.catalog import ACCELERATORS, MODELS, load_accelerator, load_model, names
from costsim.spec.price import load_prices
from docs.hooks.citations import keys

#: a page without a table of contents, so that its table has room
WIDE = "---\nhide: [toc]\n---\n"


def pages() -> list[tuple[str, str, str]]:
    return [
        ("Accelerators", "reference/accelerators.md", _accelerators()),
        ("Models", "reference/models.md", _models()),
        ("Prices", "reference/prices.md", _prices()),
    ]


def _accelerators() -> str:
    lines = [
        WIDE, "# Accelerators", "",
        "Datasheet figures of one card: dense peaks, bandwidths per direction. *unknown*: no source states it; *n/a*:",
        "the part cannot do it. `costsim hw show ID` adds each figure's source, and what was measured.", "",
        "| id | name | BF16 | FP8 | memory | bandwidth | scale-up | TDP |", "|---|---|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    shown = ("bf16", "fp8", "memory", "memory_bandwidth", "scale_up_bandwidth", "tdp")
    for name in names(ACCELERATORS):
        chip = load_accelerator(name)
        lines.append(" | ".join([f"| `{name}`", chip.name, *(chip.datasheet[key].text for key in shown)]) + " |")
    return "\n".join(lines) + "\n"


def _models() -> str:
    lines = [
        WIDE, "# Models", "",
        "Parameters are counted from the sizes. `costsim models show ID` adds KV-cache and checkpoint bytes.", "",
        "| id | name | attention | parameters | active per token |", "|---|---|---|--:|--:|",
    ]  # fmt: skip
    for name in names(MODELS):
        model = load_model(name)
        count = parameters(model)
        lines.append(f"| `{name}` | {model.name} | {model.attention.kind.upper()} | {count.total / 1e9:,.1f} B "
                     f"| {count.active / 1e9:,.1f} B |")  # fmt: skip
    return "\n".join(lines) + "\n"


def _prices() -> str:
    lines = [
        WIDE, "# Prices", "",
        "Dated, in the currency of publication. `--price ID` uses an hourly one, `--price 2USD/h` any other.", "",
        "| id | accelerator | kind | value | date | confidence | source |", "|---|---|---|--:|---|:-:|---|",
    ]  # fmt: skip
    for price in load_prices():
        cited = ", ".join(f"[{key}](bibliography.md#{key})" if key in keys() else key for key in price.sources)
        owner = "all" if price.accelerator == "*" else f"`{price.accelerator}`"
        lines.append(f"| `{price.id}` | {owner} | {price.kind.replace('_', ' ')} | {price.text} | {price.date} "
                     f"| {price.confidence} | {cited} |")  # fmt: skip
    return "\n".join(lines) + "\n"
