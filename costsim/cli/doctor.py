"""`costsim doctor`: what works on this machine, and what the absent parts would add. Always answers; exit status 0."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import locale
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costsim import units
from costsim.cli.output import finish
from costsim.errors import BadInput

if TYPE_CHECKING:
    from costsim.report.document import Document

NAME = "doctor"
HELP = "what works on this machine, and what absent parts would add"
EXAMPLE = """
costsim doctor
costsim doctor --deep
costsim doctor --errors
costsim doctor --errors CS402
"""

#: package → what it is for; the first group is the light core
_CORE = ("numpy", "pandas", "networkx", "plotly", "pydantic", "rich")
_EXTRAS = {
    "torch": "run and profile the real model: pip install 'costsim[model]'",
    "safetensors": "read checkpoints: pip install 'costsim[model]'",
    "scipy": "fit laws to measurements: pip install 'costsim[profile]'",
    "streamlit": "the dashboard: pip install 'costsim[dashboard]'",
    "tensorboard": "traces in TensorBoard: pip install 'costsim[profile]'",
    "aiconfigurator-core": "fit laws to measured GPU kernels: pip install 'costsim[silicon]'",
    "pyarrow": "Parquet files, measured GPU kernels: pip install 'costsim[silicon]'",
    "distributed": "sweeps over several machines: pip install 'costsim[cluster]'",
}


#: less room than this on the disk is worth a word
LEAST_FREE_BYTES = 50e6


@dataclass(frozen=True)
class Check:
    """One line of the answer: ``state`` is ok or absent; ``detail`` the version, or what its absence disables."""

    name: str
    state: str
    detail: str


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deep", action="store_true", help="import torch and ask it for its device (takes seconds)")
    parser.add_argument(
        "--errors", nargs="?", const="", metavar="CODE", help="what the code at the end of an error means; all of them"
    )


def run(args: argparse.Namespace) -> int:
    if args.errors is not None:
        return finish(args, _errors(args.errors))
    checks = [Check("python", "ok", f"{platform.python_version()} at {sys.executable}")]
    checks += [_package(name, "the light core; reinstall: pip install costsim") for name in _CORE]
    checks += [_package(name, purpose) for name, purpose in _EXTRAS.items()]
    checks += [_torch_device(bool(args.deep)), _browser(), *_catalogs(), *_calibration()]
    checks += [_writable(Path("out")), _space(Path()), _locale()]
    return finish(args, _document(checks))


def _package(name: str, purpose: str) -> Check:
    try:
        return Check(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "absent", f"would add: {purpose}")


def _torch_device(deep: bool) -> Check:
    name = "torch device"
    if importlib.util.find_spec("torch") is None:
        return Check(name, "absent", "without torch, costsim predicts but cannot profile")
    if not deep:
        return Check(name, "ok", "torch is installed; --deep asks it for its device")
    try:
        import torch

        if torch.cuda.is_available():
            return Check(name, "ok", f"cuda: {torch.cuda.get_device_name(0)}")
        accelerator = getattr(torch, "accelerator", None)
        if accelerator is not None and accelerator.is_available():
            return Check(name, "ok", str(accelerator.current_accelerator()))
    except Exception as error:  # a broken driver must not break the doctor
        return Check(name, "absent", f"torch does not start: {type(error).__name__}: {str(error)[:200]}")
    return Check(name, "ok", "cpu only: kernels can be profiled, accelerators cannot")


def _catalogs() -> list[Check]:
    from costsim.spec import catalog
    from costsim.spec.price import load_prices

    def every(folder: Path, load: Callable[[str], object]) -> int:
        return len([load(name) for name in catalog.names(folder)])

    parts: dict[str, Callable[[], int]] = {
        "accelerators": lambda: every(catalog.ACCELERATORS, catalog.load_accelerator),
        "clusters": lambda: every(catalog.CLUSTERS, catalog.load_cluster),
        "models": lambda: every(catalog.MODELS, catalog.load_model),
        "prices": lambda: len(load_prices()),
    }
    return [_counted(name, count) for name, count in parts.items()]


def _counted(name: str, count: Callable[[], int]) -> Check:
    try:
        found = count()
    except BadInput as error:
        return Check(name, "absent", str(error))
    if not found:
        return Check(name, "absent", "the catalog is empty; reinstall costsim")
    return Check(name, "ok", f"{found} in the catalog")


def _browser() -> Check:
    """Whether reports can become PDF: a browser of Chromium's kind that can be started without a window."""
    from costsim.cli.browser import ASK, found

    path = found()
    return Check("pdf", "absent", f"would add: --out report.pdf; {ASK}") if path is None else Check("pdf", "ok", path)


def _calibration() -> list[Check]:
    """Calibration files: how many, of which version of their format, of which dates; and what is wrong with one."""
    import json

    from costsim.calibration.store import SCHEMA, read_calibration
    from costsim.spec.catalog import CALIBRATION

    files = sorted(CALIBRATION.glob("*.json"))
    if not files:
        return [Check("calibration", "absent", "every time is grade D; `costsim calibrate` writes it")]
    wrong, dates = [], []
    for path in files:
        try:
            read_calibration(path.stem)
            dates.append(str(json.loads(path.read_text(encoding="utf-8"))["date"]))
        except BadInput as error:
            wrong.append(Check(f"calibration {path.stem}", "absent", str(error)))
    names = ", ".join(path.stem for path in files[:4]) + (" …" if len(files) > 4 else "")
    span = f"schema {SCHEMA}, fitted {min(dates)} to {max(dates)}" if dates else "none can be read"
    return [Check("calibration", "ok" if dates else "absent", f"{len(dates)} parts ({names}); {span}"), *wrong]


def _writable(folder: Path) -> Check:
    """Whether reports could be written, without writing one."""
    nearest = folder if folder.exists() else folder.absolute().parent
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        return Check("out/", "ok", f"reports go to {folder.absolute()}")
    return Check("out/", "absent", f"{nearest} is not writable; reports need --out FILE elsewhere")


def _space(folder: Path) -> Check:
    """Room on the disk for reports of a few megabytes."""
    free = shutil.disk_usage(folder).free
    text = f"{free / units.GIGA:,.1f} GB free here"
    return Check("disk", "ok" if free > LEAST_FREE_BYTES else "absent", text)


def _locale() -> Check:
    """Whether the terminal can show what tables hold (µ, ×, …); answers in files are UTF-8 everywhere."""
    coding = (sys.stdout.encoding or "ascii").lower()
    try:
        "µ×…─╭".encode(coding)
    except (UnicodeEncodeError, LookupError):
        return Check("locale", "absent", f"{coding}: signs show as ?; set PYTHONIOENCODING=utf-8 or LC_ALL=C.UTF-8")
    return Check("locale", "ok", f"{coding}, {locale.setlocale(locale.LC_CTYPE)}")


def _errors(code: str) -> Document:
    """Every kind of error, or all that is to say of one."""
    from costsim.errors import catalog, meaning
    from costsim.report.document import Document, Section, Table

    rows = [
        {"code": each.code, "name": each.name, "title": each.title, "means": each.means, "mend": each.mend,
         "example": each.example}
        for each in ([meaning(code)] if code else catalog())
    ]  # fmt: skip
    if not code:
        table = Table(("code", "what"), [[row["code"], row["title"]] for row in rows])
        told = "The code ends the line of every error; `costsim doctor --errors CODE` says what to do."
        return Document("Errors", [Section("", [told], [table])], {"errors": rows}, rows=rows)
    one = rows[0]
    words = [one["means"], f"What to do: {one['mend']}"]
    words += [f"For example: {one['example']}"] if one["example"] else []
    return Document(f"{one['code']}: {one['title']}", [Section("", words)], {"errors": rows}, rows=rows)


def _document(checks: list[Check]) -> Document:
    from costsim.report.document import Document, Section, Table
    from costsim.version import __version__

    rows = [{"name": check.name, "state": check.state, "detail": check.detail} for check in checks]
    table = Table(("part", "state", "detail"), [[check.name, check.state, check.detail] for check in checks])
    absent = sum(check.state == "absent" for check in checks)
    words = "Everything is here." if not absent else f"{absent} absent; everything else works without them."
    payload = {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "checks": rows,
    }
    return Document(
        f"costsim {__version__} on {platform.platform()}", [Section("", [words], [table])], payload, rows=rows
    )
