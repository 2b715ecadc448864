"""What ``infer`` and ``train`` share: options from the keys of plan and load, defaults said aloud, a point or a grid.

One point becomes a Report. Ranges become a table with a row per point; a point that cannot be answered keeps
its row and says why.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from costsim.cli.grid import points
from costsim.cli.output import finish, progress
from costsim.cli.parser import add_choice, add_grid
from costsim.errors import BadInput, BadOption

if TYPE_CHECKING:
    from costsim.predict.report import Report
    from costsim.spec.accelerator import Accelerator
    from costsim.spec.cluster import Cluster
    from costsim.spec.model import ModelSpec
    from costsim.spec.price import Price

#: points of one call; a table longer than this is a job for `costsim search`
MAX_POINTS = 2_000
#: metrics that a table of a grid shows first, where the answer has them
_TABLE_METRICS = 6


@dataclass(frozen=True)
class Key:
    """A numeric key of a plan or a load: an option that takes lists and ranges."""

    name: str
    help: str
    whole: bool = True
    minimum: float = 1
    maximum: float = float("inf")

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


@dataclass(frozen=True)
class Words:
    """A key of a plan that takes one of a few words; without ``choices``, any text that the question itself checks."""

    name: str
    help: str
    choices: Sequence[str]

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def add_keys(parser: argparse.ArgumentParser, title: str, keys: Sequence[Key | Words]) -> None:
    """One option a key, in a group of its own."""
    group = parser.add_argument_group(title)
    for key in keys:
        if isinstance(key, Words) and not key.choices:
            group.add_argument(key.flag, metavar="TEXT", help=key.help)
        elif isinstance(key, Words):
            add_choice(group, key.flag, key.choices, key.help)
        else:
            add_grid(group, key.flag, key.help, key.whole, key.minimum, key.maximum)


def add_subject(parser: argparse.ArgumentParser, model: str, accelerator: str) -> None:
    """Which model on which hardware at which price: the same options for every question."""
    group = parser.add_argument_group("subject")
    group.add_argument("--model", default=model, metavar="ID", help=f"catalog id, .toml or config.json ({model})")
    group.add_argument("--accelerator", default=accelerator, metavar="ID", help=f"catalog id or .toml ({accelerator})")
    group.add_argument("--cluster", metavar="ID", help="catalog id or .toml; default: the accelerator's standard node")
    group.add_argument("--price", metavar="PRICE", help="price id or an hourly rate of one card, like 2USD/h")


@dataclass(frozen=True)
class Given:
    """What the user said with what was filled in: key → values (one, or a grid), and the words about defaults."""

    grid: dict[str, list[Any]]
    words: dict[str, Any]
    assumed: tuple[str, ...]

    @property
    def varied(self) -> list[str]:
        return [name for name, values in self.grid.items() if len(values) > 1]


def given(args: argparse.Namespace, keys: Sequence[Key | Words], defaults: Mapping[str, Any]) -> Given:
    """The user's values with ``defaults`` for the rest; every default used is told in ``assumed``."""
    grid: dict[str, list[Any]] = {}
    words: dict[str, Any] = {}
    assumed = []
    for key in keys:
        value = getattr(args, key.name)
        if value is None and key.name not in defaults:
            continue
        if value is None:
            value = defaults[key.name]
            assumed.append(f"{key.flag} {value:g}" if isinstance(value, float) else f"{key.flag} {value}")
        if isinstance(key, Words):
            words[key.name] = str(value)
        else:
            grid[key.name] = value if isinstance(value, list) else [value]
    return Given(grid, words, tuple(assumed))


def refuse_foreign(args: argparse.Namespace, parser_keys: Sequence[Key], own: Sequence[Key], what: str) -> None:
    """BadInput for an option that this question does not have: ignoring it would answer another question."""
    allowed = {key.name for key in own}
    for key in parser_keys:
        if key.name not in allowed and getattr(args, key.name) is not None:
            raise BadOption(
                f"{key.flag} does not apply to {what}; it takes {', '.join(own_key.flag for own_key in own)}"
            )


def precision_for(chip: Accelerator, asked: str | None, model: ModelSpec | None = None) -> tuple[str, list[str]]:
    """The arithmetic asked for, else FP8, else what the chip has instead; and the words about it.

    A ``model`` that is stored in 4 bits is served so: with 8-bit activations where the chip multiplies 4 bits.
    """
    if asked is not None:
        return asked, []
    if model is not None and model.native_dtype == "fp4":
        dtype = "w4a8" if chip.known("fp4") else "w4"
        return dtype, [f"--precision {dtype} ({model.id} is stored in 4 bits)"]
    for dtype in ("fp8", "int8", "bf16"):
        if chip.known(dtype):
            why = "" if dtype == "fp8" else f" ({chip.id} has no FP8 peak in the catalog)"
            return dtype, [f"--precision {dtype}{why}"]
    return "bf16", ["--precision bf16"]


def supply(args: argparse.Namespace, chip: Accelerator) -> tuple[Price | None, Cluster | None, list[str]]:
    """The price and the cluster asked for, or the catalog's; and the words about what was filled in."""
    from costsim.spec.catalog import load_cluster
    from costsim.spec.edited import about
    from costsim.spec.price import default_rate, parse_rate

    cluster = load_cluster(args.cluster) if args.cluster is not None else None
    if args.price is not None:
        return parse_rate(args.price, "--price"), cluster, about(chip)
    price = default_rate(chip)
    return price, cluster, [*([f"--price {price.id}"] if price else []), *about(chip)]


def answer(args: argparse.Namespace, asked: Given, ask: Callable[[dict[str, Any]], Report]) -> int:
    """One Report, or a table over the grid."""
    from costsim.report.pages import document_of
    from costsim.report.tables import render

    every = points(asked.grid, MAX_POINTS)
    if len(every) > 1:
        return _answer_grid(args, asked, every, ask)
    report = with_assumed(ask(every[0]), asked.assumed)
    return finish(args, document_of(report), lambda: render(report))


def with_assumed(report: Report, assumed: Sequence[str]) -> Report:
    """The report with one more note: which options had their defaults; whole sentences are notes of their own."""
    said = [text for text in assumed if text.startswith("--")]
    more = [f"defaults: {'  '.join(said)}"] if said else []
    return replace(report, notes=(*report.notes, *more, *(text for text in assumed if not text.startswith("--"))))


def _answer_grid(
    args: argparse.Namespace, asked: Given, every: list[dict[str, Any]], ask: Callable[[dict[str, Any]], Report]
) -> int:
    from costsim.report.document import Document
    from costsim.report.grid import grid_rows, grid_section
    from costsim.report.tables import render_document
    from costsim.version import __version__

    rows: list[dict[str, Any]] = []
    errors: list[BadInput] = []
    for index, point in enumerate(every):
        varied = {name: point[name] for name in asked.varied}
        try:
            rows.append({"point": varied, **ask(point).json()})
        except BadInput as error:
            errors.append(error)
            rows.append({"point": varied, "error": str(error)})
        if index % 100 == 99:
            progress(f"{index + 1} of {len(every)} points")
    if len(errors) == len(rows):
        raise errors[0]
    notes = [f"defaults: {'  '.join(asked.assumed)}"] if asked.assumed else []
    payload = {"varied": asked.varied, "rows": rows, "notes": notes, "version": __version__}
    section = grid_section(asked.varied, rows, notes, _TABLE_METRICS)
    title = f"{len(rows)} points over {', '.join(asked.varied)}"
    document = Document(title=title, sections=[section], payload=payload, rows=grid_rows(rows))
    return finish(args, document, lambda: render_document(document))
