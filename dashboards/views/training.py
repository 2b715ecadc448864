"""Training: one layout's step, memory and bill; its pipeline as a Gantt chart."""

from __future__ import annotations

from costsim.cli import train
from costsim.errors import BadInput
from costsim.report.memory import memory_charts
from costsim.spec import plan
from dashboards import answers, catalog, show
from dashboards.controls import Control
from dashboards.page import Page
from dashboards.run import Seen

_D = train.DEFAULTS


def pipeline(seen: Seen) -> None:
    """The step as its pipeline ranks live it: what `costsim train --out FILE.html` draws."""
    try:
        drawn = answers.ask((*seen.page.argv(seen.values), "--out=page.html"))
    except (BadInput, answers.Defect) as error:
        show.refusal(error)
        return
    for number, section in enumerate(drawn.sections):
        if section.charts:
            show.section(section, f"pipeline.{number}")


def memory(seen: Seen) -> None:
    """What fills the fullest card, and how full each pipeline rank is."""
    for number, chart in enumerate(memory_charts(show.payload(seen.document).get("memory") or {})):
        show.chart(chart, f"memory.{number}")
    for number, section in enumerate(part for part in seen.document.sections if part.heading == "Memory per device"):
        show.section(section, f"memory.table.{number}")


PAGE = Page(
    id="training", title="Training", icon=":material/model_training:", group="Answers", order=50, verb="train",
    lead="One training layout: step time and its parts, MFU, memory, GPU hours and USD of the run.",
    headline=("step_s", "mfu_causal", "gpu_hours", "usd_per_run", "tokens_per_s_per_gpu", "peak_memory_bytes"),
    controls=(
        catalog.MODEL, catalog.CHIP, catalog.PRICE,
        Control("gpus", "g", "whole", "Cards", _D["gpus"], low=1, high=1_000_000),
        Control("pp", "pp", "whole", "Pipeline stages (pp)", _D["pp"], low=1, high=256),
        Control("ep", "ep", "whole", "Expert parallel (ep)", _D["ep"], low=1, high=100_000),
        Control("global_batch", "gb", "whole", "Sequences per step", _D["global_batch"], low=1, high=10_000_000),
        Control("tokens", "tok", "real", "Tokens of the run", float(_D["tokens"]), low=1.0, high=1e15),
        Control("schedule", "s", "word", "Schedule", None, getattr(plan, "SCHEDULE_WORDS", ())),
        Control("tp", "tp", "whole", "Tensor parallel (tp)", _D["tp"], low=1, high=4096, more=True),
        Control("vpp", "vpp", "whole", "Virtual stages (vpp)", None, low=1, high=64, more=True),
        Control("cp", "cp", "whole", "Context parallel (cp)", _D["cp"], low=1, high=4096, more=True),
        Control("zero", "z", "whole", "ZeRO stage", _D["zero"], low=0, high=3, more=True),
        Control("seq", "seq", "whole", "Tokens of a sequence", _D["seq"], low=1, high=10_000_000, more=True),
        Control("micro_batch", "mb", "whole", "Micro-batch", _D["micro_batch"], low=1, high=100_000, more=True),
        Control("precision", "pr", "word", "Precision", None, plan.PRECISIONS[:2], more=True,
                note="the default is FP8 where the chip has it, else BF16"),
        Control("recompute", "rc", "word", "Recompute", None, plan.RECOMPUTES, more=True),
        Control("routing", "r", "word", "Routing", None, plan.ROUTINGS, more=True),
        catalog.CLUSTER,
    ),
    views={"Pipeline": pipeline, "Memory": memory},
)  # fmt: skip
