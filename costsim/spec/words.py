"""Words that fields of plans and loads may hold. Nothing else, so that listing options loads nothing else."""

from __future__ import annotations

from typing import Final

# serving plans
OVERLAPS: Final = ("none", "two-batch", "single-batch")
ROUTINGS: Final = ("balanced", "eplb", "default", "production", "trained")
PRECISIONS: Final = ("fp8", "bf16", "int8", "w4", "w4a8", "fp4")
KV_DTYPES: Final = ("bf16", "fp8", "int8")
# training plans
RECOMPUTES: Final = ("none", "selective", "full")
TRAINING_PRECISIONS: Final = ("fp8", "bf16", "fp4")
SCHEDULE_WORDS: Final = ("auto", "gpipe", "1f1b", "interleaved", "zb-h1", "dualpipe", "dualpipev")
TRAINING_OVERLAPS: Final = ("auto", "none", "gradients", "pair")
FRAMEWORKS: Final = ("auto", "megatron", "deepseek")
DISPATCHERS: Final = ("auto", "deepep", "alltoall")
GRAPHS: Final = ("none", "attention")
# post-training
ALGORITHMS: Final = ("grpo", "dapo", "rloo", "ppo", "sft", "distill")
POST_SCHEDULES: Final = ("synchronous", "one-step-off")
POST_FRAMEWORKS: Final = ("tuned", "nemo-rl", "verl", "verl-eager", "deepseek")
LENGTH_LAWS: Final = ("lognormal", "exponential")
