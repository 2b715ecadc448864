"""Training: one layout's step, memory and bill; its pipeline as a Gantt chart."""

from __future__ import annotations

from costsim.cli import train
from costsim.errors import BadInput
from costsim.report.memory import memory_charts
from costsim.spec import words
from dashboards import answers, catalog, show
from dashboards.controls import ENGINE, MORE, Control
from dashboards.page import Page, Question, Screen
from dashboards.run import Seen

_D = train.DEFAULTS
#: what the backward pass may compute again: a word for all, or tensors by name
RECOMPUTED = (*words.RECOMPUTES, "norm", "act", "mla_up_proj", "core_attn", "mlp", "moe")


def pipeline(seen: Seen) -> None:
    """The step as its pipeline ranks live it: what `costsim train --out FILE.html` draws."""
    try:
        drawn = answers.ask((*seen.page.question.argv(seen.values), "--out=page.html"))
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


CONTROLS = (
    catalog.MODEL, catalog.CHIP, catalog.PRICE,
    Control("gpus", "g", "whole", "Cards", _D["gpus"], span=(1, 1_000_000)),
    Control("pp", "pp", "whole", "Pipeline stages (pp)", _D["pp"], span=(1, 256)),
    Control("ep", "ep", "whole", "Expert parallel (ep)", _D["ep"], span=(1, 100_000)),
    Control("global_batch", "gb", "whole", "Sequences per step", _D["global_batch"], span=(1, 10_000_000)),
    Control("tokens", "tok", "real", "Tokens of the run", float(_D["tokens"]), span=(1.0, 1e15)),
    Control("schedule", "s", "word", "Schedule", None, words.SCHEDULE_WORDS),
    Control("tp", "tp", "whole", "Tensor parallel (tp)", _D["tp"], span=(1, 4096), fold=MORE),
    Control("vpp", "vpp", "whole", "Virtual stages (vpp)", None, span=(1, 64), fold=MORE),
    Control("cp", "cp", "whole", "Context parallel (cp)", _D["cp"], span=(1, 4096), fold=MORE),
    Control("zero", "z", "whole", "ZeRO stage", _D["zero"], span=(0, 3), fold=MORE),
    Control("seq", "seq", "whole", "Tokens of a sequence", _D["seq"], span=(1, 10_000_000), fold=MORE),
    Control("micro_batch", "mb", "whole", "Micro-batch", _D["micro_batch"], span=(1, 100_000), fold=MORE),
    Control("precision", "pr", "word", "Precision", None, words.TRAINING_PRECISIONS, fold=MORE,
            note="the default is FP8 where the chip has it, else BF16"),
    Control("recompute", "rc", "words", "Recompute", [], RECOMPUTED, fold=MORE),
    Control("routing", "r", "word", "Routing", None, words.ROUTINGS, fold=MORE),
    catalog.IMBALANCE, catalog.CLUSTER,
    Control("framework", "fw", "word", "Kernels and number formats of", None, words.FRAMEWORKS, fold=ENGINE),
    Control("dispatcher", "di", "word", "How tokens reach experts", None, words.DISPATCHERS, fold=ENGINE),
    Control("overlap", "o", "word", "Overlap", None, words.TRAINING_OVERLAPS, fold=ENGINE),
    Control("comm_sms", "sms", "whole", "Cores for communication", None, span=(1, 10_000), fold=ENGINE),
    Control("graphs", "gra", "word", "Captured as CUDA graphs", None, words.GRAPHS, fold=ENGINE),
)  # fmt: skip

PAGE = Page(
    id="training", title="Training", icon=":material/model_training:", group="Answers", order=50,
    lead="One training layout: step time and its parts, MFU, memory, GPU hours and USD of the run.",
    question=Question(
        verb="train",
        controls=CONTROLS,
    ),
    screen=Screen(
        headline=("step_s", "mfu_causal", "gpu_hours", "usd_per_run", "tokens_per_s_per_gpu", "peak_memory_bytes"),
        views={"Pipeline": pipeline, "Memory": memory},
    ),
)  # fmt: skip
