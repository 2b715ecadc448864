"""FP8 savings: what 8 bits save in training, op by op, against 16."""

from __future__ import annotations

from dataclasses import replace

from dashboards.views.training import PAGE as TRAINING

PAGE = replace(
    TRAINING,
    id="fp8", title="FP8 savings", icon=":material/compress:", order=65,
    lead="The same layout in FP8 and in BF16: where time, memory and money are saved.",
    question=replace(
        TRAINING.question,
        fixed=("--fp8-savings",), needs=("--fp8-savings",), long=True,
    ),
    screen=replace(
        TRAINING.screen,
        headline=("speedup", "fp8_step_s", "bf16_step_s", "fp8_usd", "bf16_usd", "fp8_memory_bytes"), views={},
    ),
)  # fmt: skip
