"""Audit of what is installed: licences, ranges and pins, and what ``import costsim`` costs. Part of ``make check``.

Nothing is asked of a network: every fact is read from the packages' own metadata.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

ROOT = Path(__file__).resolve().parent.parent
IMPORT_S = 0.4
#: what the import must leave alone: each costs more than the budget, or belongs to one verb
NOT_ON_IMPORT = ("numpy", "pandas", "scipy", "networkx", "plotly", "rich", "pydantic", "torch", "streamlit", "dask",
                 "distributed", "pyarrow", "transformers", "model", "dashboards")  # fmt: skip
#: licences under which a package may be used beside Apache-2.0 code: permissive ones, and weak copyleft by file
ALLOWED = re.compile(
    r"\b(MIT|BSD|0BSD|ISC|Apache|Python Software Foundation|PSF|MPL|Mozilla Public License|Unlicense|HPND|CMU|Zlib|"
    r"Public Domain|Historical Permission|CC0|BSL-1\.0|Boost|MIT-0|CNRI)\b",
    re.IGNORECASE,
)
REFUSED = re.compile(r"\b(A?GPL|GNU (Affero )?General Public|SSPL|Commons Clause|BUSL|Proprietary)\b", re.IGNORECASE)
#: packages whose licence stands in a file alone and was read there: name → licence
BY_HAND: dict[str, str] = {}
#: NVIDIA's runtime libraries come with CUDA builds of torch, under NVIDIA's own licence; no file of ours holds them
VENDOR = ("nvidia-cu", "nvidia-nccl", "nvidia-nv", "cuda-")


def licence(package: Distribution) -> str:
    """What a package says of its licence: expression, classifiers, the first line of the old field."""
    meta = package.metadata
    said = [meta.get("License-Expression") or ""]
    said += [line.split("::")[-1].strip() for line in meta.get_all("Classifier") or () if line.startswith("License")]
    said.append((meta.get("License") or "").strip().partition("\n")[0][:80])
    return "; ".join(dict.fromkeys(part for part in said if part and part != "UNKNOWN"))


def installed() -> dict[str, Distribution]:
    return {canonical(package.metadata["Name"]): package for package in distributions() if package.metadata["Name"]}


def needed(have: dict[str, Distribution]) -> set[str]:
    """Everything that costsim with all its extras leads to, of what is installed; tools beside it are not ours."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    waiting = [Requirement(text) for each in lists for text in each]
    found: set[str] = set()
    while waiting:
        one = waiting.pop()
        name = canonical(one.name)
        if name in found or name not in have or name == "costsim":
            continue
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        found.add(name)
        waiting += [Requirement(text) for text in have[name].requires or () if "extra ==" not in text]
    return found


def licences(have: dict[str, Distribution], names: set[str]) -> Iterator[str]:
    for name in sorted(names):
        if name.startswith(VENDOR):
            continue
        said = BY_HAND.get(name) or licence(have[name])
        if REFUSED.search(said) and not ALLOWED.search(said):
            yield f"{name}: licence {said[:80]!r} does not go with Apache-2.0"
        elif not ALLOWED.search(said):
            yield f"{name}: licence {said[:80]!r} is not one of the known ones; read it, then enter it in {__file__}"


def ranges(have: dict[str, Distribution]) -> Iterator[str]:
    """Every requirement has a lower bound and no upper one, and the pins lie inside the ranges."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split() if "==" in line
    )
    pins = {canonical(name): version for name, version in pins.items()}
    for text in [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]:
        one = Requirement(text)
        name = canonical(one.name)
        if name == "costsim":
            continue
        operators = {part.operator for part in one.specifier}
        if not operators & {">=", "==", "~="}:
            yield f"pyproject.toml: {text!r} has no lower bound"
        if name not in pins:
            if name in have:
                yield f"constraints.txt: {name} is installed ({have[name].version}) and not pinned"
        elif not one.specifier.contains(pins[name], prereleases=True):
            yield f"constraints.txt: {name}=={pins[name]} lies outside {text!r}"


def pinned(have: dict[str, Distribution], names: set[str]) -> Iterator[str]:
    """What is installed is what was tested; a local build tag, as of torch for the CPU, does not count."""
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split():
        name, _, version = line.partition("==")
        found = have.get(canonical(name))
        if version and found is not None and canonical(name) in names and found.version.split("+")[0] != version:
            yield f"{name}: {found.version} is installed where {version} was tested"


def imports() -> Iterator[str]:
    """Seconds of processor time and the modules of a bare ``import costsim``, best of three."""
    code = (
        "import sys, time; start = time.process_time(); import costsim; "
        "print(time.process_time() - start, *(name for name in sys.argv[1:] if name in sys.modules))"
    )
    times = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code, *NOT_ON_IMPORT], capture_output=True, text=True, check=True,
                              cwd=ROOT)  # fmt: skip
        seconds, *loaded = done.stdout.split()
        times.append(float(seconds))
        if loaded:
            yield f"import costsim loads {', '.join(loaded)}"
            return
    print(f"import costsim: {min(times):.3f} s of processor time (at most {IMPORT_S})")
    if min(times) > IMPORT_S:
        yield f"import costsim takes {min(times):.2f} s, more than {IMPORT_S}"


def main() -> int:
    have = installed()
    names = needed(have)
    wrong = [*licences(have, names), *ranges(have), *pinned(have, names), *imports()]
    print(f"{len(names)} packages: licences, lower bounds, pins")
    for line in wrong:
        print(f"audit: {line}")
    print("audit: nothing to object to" if not wrong else f"audit: {len(wrong)} objections")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
