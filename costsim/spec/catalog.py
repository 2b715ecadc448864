"""Load nouns by name or by file: the folders ``hwprofiles/`` and ``model/specs/`` are the catalog."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from costsim.errors import Malformed, UnknownName
from costsim.spec.accelerator import Accelerator
from costsim.spec.base import build, read_toml
from costsim.spec.cluster import Cluster
from costsim.spec.model import ModelSpec
from costsim.spec.topology import LinkKind, TopologySpec

ROOT = Path(__file__).resolve().parent.parent.parent
ACCELERATORS = ROOT / "hwprofiles" / "accelerators"
CLUSTERS = ROOT / "hwprofiles" / "clusters"
TOPOLOGIES = ROOT / "hwprofiles" / "topologies"
LINKS = ROOT / "hwprofiles" / "links.toml"
MODELS = ROOT / "model" / "specs"
CALIBRATION = ROOT / "hwprofiles" / "calibration"
POINTS = ROOT / "hwprofiles" / "points"
MEASUREMENTS = ROOT / "hwprofiles" / "measurements"
#: made-up models and clusters that claims are held against: found by name, listed nowhere
WHAT_IF = ROOT / "hwprofiles" / "what_if"


def names(folder: Path) -> list[str]:
    """The ids of a catalog folder, one TOML file each."""
    try:
        changed = folder.stat().st_mtime_ns
    except OSError:
        return []
    return list(_names(folder, changed))


@lru_cache(maxsize=64)
def _names(folder: Path, _changed: int) -> tuple[str, ...]:
    """Asked for thousands of times by one listing; read again when a file has come or gone."""
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def _find(kind: str, name: str, folder: Path) -> Path:
    """A file of the catalog, or a user's own TOML when ``name`` is a path that ends in .toml."""
    own = Path(name)
    if name.endswith(".toml") and own.is_file():
        return own
    key = name.strip().lower().replace("_", "-")
    known = names(folder)
    if key in known:
        return folder / f"{key}.toml"
    if folder in (MODELS, CLUSTERS) and key in names(WHAT_IF):
        return WHAT_IF / f"{key}.toml"
    raise UnknownName(kind, name, known)


def _stamp(name: str) -> tuple[str, int, int, int]:
    """Which file a name means just now: a file of one's own may change, stand in another folder, or get laws beside it
    between two calls."""
    own = Path(name)
    try:
        path = own / "config.json" if own.is_dir() else own
        found = path.stat()
    except (OSError, ValueError):
        return ("", 0, 0, 0)
    return (str(path.resolve()), found.st_mtime_ns, found.st_size, path.parent.stat().st_mtime_ns)


def load_accelerator(name: str) -> Accelerator:
    """An accelerator by id (``h800-sxm``) or by a TOML file, beside which ``<id>.json`` may hold its laws."""
    return _accelerator(name, _stamp(name))


@lru_cache(maxsize=256)
def _accelerator(name: str, _file: tuple[str, int, int, int]) -> Accelerator:
    path = _find("accelerator", name, ACCELERATORS)
    chip = build(Accelerator, read_toml(path, "accelerator"), str(path.name))
    if path.parent == ACCELERATORS:
        return chip
    if chip.sibling is not None and chip.sibling not in names(ACCELERATORS):
        raise UnknownName(f"sibling in {path.name[:60]}:", chip.sibling, names(ACCELERATORS))
    laws = chip.calibration or f"{chip.id}.json"
    if Path(laws).name != laws or laws == "..":  # what a file says is never followed as a path
        field = "calibration" if chip.calibration else "id"
        raise Malformed(f"{path.name}: {field}: {laws[:60]!r} is not the plain name of a file beside it")
    beside = path.parent / laws
    return chip.model_copy(update={"calibration": str(beside) if beside.is_file() else "", "file": name})


def load_cluster(name: str) -> Cluster:
    """A cluster by id or by the path of a TOML file."""
    return _cluster(name, _stamp(name))


@lru_cache(maxsize=256)
def _cluster(name: str, _file: tuple[str, int, int, int]) -> Cluster:
    path = _find("cluster", name, CLUSTERS)
    return build(Cluster, read_toml(path, "cluster"), str(path.name))


def load_topology(name: str) -> TopologySpec:
    """A topology by id (``mpft-64``) or by the path of a TOML file."""
    return _topology(name, _stamp(name))


@lru_cache(maxsize=256)
def _topology(name: str, _file: tuple[str, int, int, int]) -> TopologySpec:
    path = _find("topology", name, TOPOLOGIES)
    return build(TopologySpec, read_toml(path, "topology"), str(path.name))


@lru_cache(maxsize=1)
def _links() -> dict[str, LinkKind]:
    table = read_toml(LINKS, "links")
    return {name: build(LinkKind, {"id": name, **entry}, f"{LINKS.name}: {name}") for name, entry in table.items()}


def load_link(name: str) -> LinkKind:
    """A kind of link by id (``infiniband``); the shipped table only."""
    known = _links()
    if name not in known:
        raise UnknownName("link", name, known)
    return known[name]


def load_model(name: str) -> ModelSpec:
    """A model by id (``deepseek-v3``), by the path of a TOML file, or of a Hugging Face ``config.json``."""
    return _model(name, _stamp(name))


@lru_cache(maxsize=256)
def _model(name: str, _file: tuple[str, int, int, int]) -> ModelSpec:
    own = Path(name)
    if name.strip() and (name.endswith(".json") or own.is_dir()):
        from costsim.spec.huggingface import read_config

        return read_config(own / "config.json" if own.is_dir() else own)
    path = _find("model", name, MODELS)
    return build(ModelSpec, read_toml(path, "model"), str(path.name))
