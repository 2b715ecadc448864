"""What controls offer: models, chips, words of plans, as the catalogs and the verbs know them."""

from __future__ import annotations

from functools import lru_cache

from costsim.cli.launch import ENGINES
from costsim.cli.names import engines
from costsim.spec import plan
from costsim.spec.catalog import ACCELERATORS, CLUSTERS, MODELS, TOPOLOGIES, names
from dashboards import uploads
from dashboards.controls import ENGINE, MORE, Control
from dashboards.patterns import RATE


@lru_cache(maxsize=1)
def models() -> tuple[str, ...]:
    """Ids of the model catalog."""
    return tuple(names(MODELS))


@lru_cache(maxsize=1)
def shipped_chips() -> tuple[str, ...]:
    """Ids of the accelerator catalog."""
    return tuple(names(ACCELERATORS))


def chips() -> tuple[str, ...]:
    """Ids of the accelerator catalog, and this session's own."""
    return (*uploads.own_chips(), *shipped_chips())


@lru_cache(maxsize=1)
def clusters() -> tuple[str, ...]:
    """Ids of the cluster catalog."""
    return tuple(names(CLUSTERS))


@lru_cache(maxsize=1)
def networks() -> tuple[str, ...]:
    """Clusters and topologies."""
    return (*names(CLUSTERS), *names(TOPOLOGIES))


MODEL = Control("model", "m", "word", "Model", "deepseek-v3", models)
CHIP = Control("accelerator", "a", "word", "Accelerator", "h800-sxm", chips)
CLUSTER = Control("cluster", "c", "word", "Cluster", None, clusters, fold=MORE,
                  note="the default is the accelerator's standard node")  # fmt: skip
PRICE = Control("price", "p", "text", "Price of a card", None, pattern=RATE, help="2 USD/h")
PRECISION = Control("precision", "pr", "word", "Precision", None, plan.PRECISIONS,
                    note="the default is FP8 where the chip has it, else INT8, else BF16")  # fmt: skip
#: options of a serving plan that few change
_FOUND = "the default follows from the routing; the page Expert placement finds it"
FRAMEWORK = Control("framework", "fw", "word", "Serving engine", None, engines, fold=ENGINE, empty="none")
IMBALANCE = Control("imbalance", "im", "real", "Busiest expert rank over the mean", None, span=(1.0, 1000.0), fold=MORE,
                    note=_FOUND)  # fmt: skip
REMOTE_NODES = Control("remote_nodes", "rn", "real", "Further nodes a token is sent to", None, span=(0.0, 1000.0),
                       fold=MORE, note=_FOUND)  # fmt: skip
LAUNCH = Control("launch", "la", "word", "Launch commands for", None, ENGINES, empty="none")


def chip(default: str) -> Control:
    """The accelerator control with another default."""
    return Control("accelerator", "a", "word", "Accelerator", default, chips)
