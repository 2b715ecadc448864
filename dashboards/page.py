"""Page: one module of ``views/``. It declares what is asked of which verb and what is shown; the rest is common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboards import uploads
from dashboards.controls import Control, options_of


@dataclass(frozen=True)
class Question:
    """``verb`` is asked with the values of ``controls``, and ``fixed`` options that every question of the page has.

    ``mode`` names the control that decides which others are shown. ``subject`` makes options of the values where they
    are not simply those of the controls. ``explains`` says that `costsim explain` takes the same options. ``long``
    questions run beside the page. The page is absent where the verb lacks an option of ``needs``.
    """

    verb: str
    controls: Sequence[Control] = ()
    mode: str = ""
    fixed: Sequence[str] = ()
    needs: Sequence[str] = ()
    subject: Callable[[dict[str, Any]], list[str]] | None = None
    explains: bool = False
    long: bool = False

    def mode_of(self, values: Mapping[str, Any]) -> str:
        """The word of the control that decides which others are shown."""
        return str(values.get(self.mode) or self.default_mode) if self.mode else ""

    @property
    def default_mode(self) -> str:
        """The mode of a fresh page, empty where the page has none."""
        return next((str(control.default) for control in self.controls if control.name == self.mode), "")

    def defaults(self, mode: str) -> dict[str, Any]:
        """The values that a fresh page has in a mode."""
        shown = {control.name: control.at(mode) for control in self.controls if control.shown(mode)}
        return shown | ({self.mode: mode} if self.mode else {})

    def argv(self, values: Mapping[str, Any], verb: str | None = None, more: Sequence[str] = ()) -> tuple[str, ...]:
        """The question on the command line."""
        subject = self.subject(dict(values)) if self.subject else options_of(
            self.controls, values, self.mode_of(values), uploads.spelled)  # fmt: skip
        return (verb or self.verb, *more, *self.fixed, *subject)


@dataclass(frozen=True)
class Screen:
    """``headline``: the metrics shown large; ``numbers`` finds the JSON of metrics in an answer that keeps them
    elsewhere than under ``metrics``.

    ``above`` draws what stands before the answer's own sections, of which those headed by a word of ``skip`` are left
    out. ``views`` are further ways to look at the answer, by name. ``show`` draws a page that has none of this.
    """

    headline: Sequence[str] = ()
    numbers: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    above: Callable[[Any], None] | None = None
    skip: Sequence[str] = ()
    views: Mapping[str, Callable[[Any], None]] = field(default_factory=dict)
    show: Callable[[Page, dict[str, Any]], None] | None = None


@dataclass(frozen=True)
class Page:
    """``id`` is its word in addresses, ``group`` and ``order`` its place in the navigation, ``lead`` its first line."""

    id: str
    title: str
    icon: str
    group: str
    order: int
    lead: str
    question: Question
    screen: Screen = field(default_factory=Screen)
