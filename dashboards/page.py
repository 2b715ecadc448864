"""Page: one module of ``views/``. It declares what is asked of which verb; the rest is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards import uploads
from dashboards.controls import Control, options_of


@dataclass(frozen=True)
class Page:
    """``verb`` is asked with the values of ``controls``; the page is absent where it lacks an option of ``needs``.

    ``mode`` names the control that decides which others are shown, ``headline`` the metrics shown large; ``explains``
    says that `costsim explain` takes the same options. ``long`` questions run beside the page. ``views`` are further
    ways to look at the answer, by name; ``fixed`` are options that every question of the page has. ``numbers`` finds
    the JSON of metrics in an answer that keeps them elsewhere than under ``metrics``; ``above`` draws what stands
    before the answer's own sections.
    """

    id: str
    title: str
    icon: str
    group: str
    order: int
    lead: str
    verb: str
    controls: Sequence[Control] = ()
    mode: str = ""
    headline: Sequence[str] = ()
    needs: Sequence[str] = ()
    fixed: Sequence[str] = ()
    explains: bool = False
    long: bool = False
    views: Mapping[str, Callable[[Any], None]] | None = None
    show: Callable[[Page, dict[str, Any]], None] | None = None
    subject: Callable[[dict[str, Any]], list[str]] | None = None
    skip: Sequence[str] = ()
    numbers: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    above: Callable[[Any], None] | None = None

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
