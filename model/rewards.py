"""Rule rewards: what DeepSeek-R1 rewards without any reward model, accuracy and format [deepseek-r1, section 2.2.2]."""

from __future__ import annotations

import re

_FORMAT = re.compile(r"\s*<think>(?P<thought>.*?)</think>\s*<answer>(?P<answer>.*?)</answer>\s*", re.DOTALL)


def format_reward(text: str) -> float:
    """1 where the text is one thought followed by one answer in their tags, and nothing else; 0 otherwise."""
    found = _FORMAT.fullmatch(text)
    nested = found is not None and any("<think>" in part or "<answer>" in part for part in found.groups())
    return float(found is not None and not nested)


def accuracy_reward(text: str, answer: str) -> float:
    """1 where the tagged answer equals ``answer``, as numbers if both are; 0 otherwise or without an answer."""
    found = _FORMAT.fullmatch(text)
    if found is None:
        return 0.0
    given = found["answer"].strip()
    try:
        return float(float(given.replace(",", "")) == float(answer.replace(",", "")))
    except ValueError:
        return float(given == answer.strip())
