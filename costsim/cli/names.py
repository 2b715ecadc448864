"""Names that the catalogs hold, read off the files without loading any of them: for options and for completion."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent.parent
_PROFILES = _ROOT / "hwprofiles"


def _files(folder: Path, *ends: str) -> list[str]:
    """Stems of the files with one of these endings."""
    if not folder.is_dir():
        return []
    names = (path.name for path in folder.iterdir())
    return sorted(name.removesuffix(end) for name in names for end in ends if name.endswith(end))


def _table(name: str) -> dict[str, Any]:
    path = _PROFILES / name
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def models() -> list[str]:
    return _files(_ROOT / "model" / "specs", ".toml")


def accelerators() -> list[str]:
    return _files(_PROFILES / "accelerators", ".toml")


def clusters() -> list[str]:
    return _files(_PROFILES / "clusters", ".toml")


def topologies() -> list[str]:
    return _files(_PROFILES / "topologies", ".toml")


def recipes() -> list[str]:
    return _files(_PROFILES / "recipes", ".toml")


def runs() -> list[str]:
    return _files(_PROFILES / "runs", ".toml")


def fleets() -> list[str]:
    return _files(_PROFILES / "fleets", ".toml")


def traces() -> list[str]:
    return _files(_PROFILES / "traces", ".csv.gz", ".jsonl.gz", ".json.gz")


def engines() -> list[str]:
    """Serving engines."""
    return sorted(_table("engines.toml").get("engine", {}))


def prices() -> list[str]:
    return [str(entry["id"]) for entry in _table("prices.toml").get("price", []) if "id" in entry]


def claims() -> list[str]:
    return list(_table("claims.toml"))
