"""What verbs share to show how an answer is launched: the option, and a section with the commands."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from costsim.cli.parser import add_choice

if TYPE_CHECKING:
    from costsim.predict.launch import Launch
    from costsim.predict.service import Service
    from costsim.report.document import Document
    from costsim.spec.accelerator import Accelerator
    from costsim.spec.model import ModelSpec
    from costsim.spec.plan import ServingPlan

#: as in costsim.predict.launch, which loads more than an option needs
ENGINES = ("sglang", "vllm", "trtllm")


def add_option(group: argparse._ActionsContainer) -> None:
    add_choice(group, "--launch", ENGINES, "also print the commands that start this deployment")


def launches(
    engine: str, model: ModelSpec, chip: Accelerator, plan: ServingPlan, service: Service | None = None,
    role: str | None = None,
) -> list[Launch]:  # fmt: skip
    """Commands of a plan's replicas, and of its prefill pool's first, if it has one."""
    from costsim.predict.launch import Wanted, launch
    from costsim.predict.service import Service, parts_of, replica_cards

    service = service or Service()
    wanted = []
    for part, own, one in parts_of(chip, plan, service):
        cards = replica_cards(model, own, one)
        wanted.append(Wanted(
            model, own, replace(one, gpus=cards), service.policy, part if service.prefill else role or part,
            int(float(one.gpus) / cards), int(service.mtp_tokens), service.prefix_cache,
        ))  # fmt: skip
    if len(wanted) == 2:
        sides = [(w.dp, w.tp) for w in wanted]
        wanted = [replace(w, peer=peer) for w, peer in zip(wanted, reversed(sides), strict=True)]
    return [launch(engine, w) for w in wanted]


def with_launches(document: Document, found: Sequence[Launch]) -> Document:
    """The document with the commands in front of its notes and in its payload."""
    from costsim.report.document import Section

    sections = []
    for one in found:
        what = "" if one.role == "both" else f", {one.role}"
        files = [f"{name}:  {text.strip()}" for name, text in one.files.items()]
        heading = f"Launch with {one.engine} {one.version}{what}"
        sections.append(Section(heading, [*one.commands, *files, *one.notes]))
    payload = {**document.payload, "launch": [one.json() for one in found]}
    return replace(document, sections=[*document.sections, *sections], payload=payload)
