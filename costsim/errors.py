"""What can be wrong with what a user asked, each as one line: what, where, what would work; and its code.

Everything here is the user's to mend, so the command line turns it into exit status 2 and ends the line with the code
of its kind. Codes are stable: CS1xx what was typed, CS2xx files, CS3xx what a chip lacks, CS4xx plans without an
answer, CS5xx what this machine lacks. Anything else that escapes is a defect of costsim (CS900, exit status 1).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Meaning:
    """One kind of error as its page tells it; ``example`` is a command that ends with this code, where one does."""

    code: str
    name: str
    title: str
    means: str
    mend: str
    example: str = ""

    @property
    def anchor(self) -> str:
        """Where the page of errors tells of it."""
        return self.code.lower()


#: letters of a message: what is longer loses its middle, since where and what would work stand at its ends
LONGEST = 300


#: what a terminal obeys instead of showing it: controls, and signs that turn the direction of writing or break lines
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def tame(text: str) -> str:
    """``text`` with a question mark for every sign that a terminal would obey; line breaks and tabs stay."""
    return _OBEYED.sub("?", text)


def spelled_out(text: str) -> str:
    """JSON text with those signs as escapes: they can only stand inside its strings."""
    return _OBEYED.sub(lambda sign: f"\\u{ord(sign.group()):04x}", text)


def one_line(text: str, most: int = LONGEST) -> str:
    """``text`` on one line of at most ``most`` letters; what a terminal would obey (escapes, controls, signs that turn
    the direction of writing) is spelled out, since names and values come from files."""
    line = " ".join(text[: 100 * most].split())
    if not line.isprintable():
        line = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)
    if len(line) > most:
        line = f"{line[: most * 2 // 3]} … {line[3 - most // 3 :]}"
    return line


class BadInput(ValueError):
    """Input that cannot be answered. The message is one line and says what would work."""

    code: str = "CS100"
    title: ClassVar[str] = "A question that cannot be answered"
    means: ClassVar[str] = "Something else in the question is wrong: none of the closer kinds below fits."
    mend: ClassVar[str] = "The line names the field and the value, and ends with what would work; change that."

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class UnknownName(BadInput):
    """A name that no catalog holds; the nearest names are offered."""

    code = "CS101"
    title = "A name that nothing has"
    means = "A model, accelerator, cluster, price, metric, claim, verb or other name is in no catalog."
    mend = (
        "Take one of the nearest names, list them all (`costsim hw list`, `costsim models list`), or name a file of "
        "your own with its path and extension."
    )
    example = "costsim models show deepseek-v33"

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4) or known[:8]
        super().__init__(f"unknown {kind} {name[:80]!r}; nearest: {', '.join(near) or 'none'}")


class BadOption(BadInput):
    """An option that the verb does not have, or that does not go with another."""

    code = "CS102"
    title = "An option that does not fit the verb"
    means = "The verb has no such option, needs one that is absent, or two that were given exclude each other."
    mend = "`costsim VERB --help` lists the options with an example; the nearest spelling is in the line."
    example = "costsim infer --gpu 8"


class BadQuantity(BadInput):
    """A text that is no number, or a number without the unit that its field needs."""

    code = "CS103"
    title = "A number that cannot be read, or one without its unit"
    means = "Quantities carry their unit, because 400 may be Gb/s or GB/s; counts are whole numbers, lists or ranges."
    mend = "Write it as the line shows: 50ms, 2USD/h, 3.35 TB/s; 8,16,32 or 1:1024 for counts."
    example = "costsim infer --price 2"


class OutOfRange(BadInput):
    """A number or a word outside what its field can hold."""

    code = "CS104"
    title = "A value outside what its field can hold"
    means = "The number lies outside the field's limits, or the word is not one of those that the field knows."
    mend = "Take a value within the limits that the line states."
    example = "costsim infer --gpus 0"


class Contradiction(BadInput):
    """Two things in the question that cannot both hold."""

    code = "CS105"
    title = "Two things that do not go together"
    means = (
        "Each is right alone: a cluster of other chips than --accelerator, a layout that its schedule or its framework "
        "cannot run, laws that were measured on another part, tables of different sizes."
    )
    mend = "Leave one of the two out, or change it to what the line says the other needs."
    example = "costsim infer --accelerator h20-96g --cluster h800-8x400g-ib"


class UnreadableFile(BadInput):
    """A file that is absent, forbidden, no plain file, or larger than what it is said to be could be."""

    code = "CS201"
    title = "A file that cannot be read"
    means = "The file is absent, may not be read, is a directory or device, or is larger than its kind ever is."
    mend = "Check the path and its permissions; the line states the limit on the size where that is the matter."
    example = "costsim report no-such-file.toml"


class Malformed(BadInput):
    """A file that can be read but does not hold what it should."""

    code = "CS202"
    title = "A file that does not hold what it should"
    means = "The text is not the TOML, JSON or CSV that is expected, or a field in it has the wrong name or type."
    mend = (
        "The line names the file, the field and the value. `costsim report --example` prints a good scenario; the "
        "files under hwprofiles/ are examples of every other kind."
    )


class UnknownSchema(BadInput):
    """A file written for another version of its format that cannot be carried over."""

    code = "CS203"
    title = "A file of a format version that this costsim does not know"
    means = (
        "Scenarios and calibrations say which version of their format they are in (`schema = 1`). Older versions are "
        "carried over while reading; a newer one was written by a newer costsim."
    )
    mend = "Upgrade costsim, or correct the number where it is a mistake."


class CannotWrite(BadInput):
    """A file that cannot be written: no folder, no permission, no space, no such format."""

    code = "CS204"
    title = "A file that cannot be written"
    means = "The folder is absent, may not be written to or is full, or the extension names no format."
    mend = "Name a file with a known extension in a folder that you may write to. What was there before is untouched."
    example = "costsim models list --out answer.docx"


class UnknownField(BadInput):
    """A datasheet field that the question needs and no source states."""

    code = "CS301"
    title = "A datasheet field that no source states"
    means = "The question needs a property of the chip that its file leaves out, because nobody has published it."
    mend = (
        "Copy the chip's file from hwprofiles/accelerators, add the field with its unit and your source, and give "
        "the path of your file in place of the name."
    )


class UnsupportedDtype(BadInput):
    """A number format that the accelerator does not have."""

    code = "CS302"
    title = "A number format that the chip does not have"
    means = "The datasheet states no peak for this format, so nothing can be computed in it."
    mend = "Take one of the formats in the line; `costsim hw show ID` lists them."
    example = "costsim infer --accelerator a100-80g-sxm --precision fp8"


class DoesNotDivide(BadInput):
    """A parallel plan that does not divide the model or the cluster."""

    code = "CS401"
    title = "A parallel plan that does not divide"
    means = "A width does not divide the cards, layers, heads or experts that it is meant to share out."
    mend = "Take one of the nearest values in the line."
    example = "costsim infer --gpus 10 --tp 4"


class DoesNotFit(BadInput):
    """A plan whose memory exceeds the device; the binding term is named."""

    code = "CS402"
    title = "A plan that does not fit into the memory"
    means = "Weights, cache, activations and buffers of the fullest device together exceed what it has."
    mend = (
        "The line names the largest term: more cards or experts in parallel for weights, fewer requests or a shorter "
        "context for the cache, recomputation for activations. `costsim search` finds plans that fit."
    )
    example = "costsim infer --gpus 1 --ep 1"


class NothingFound(BadInput):
    """A search, a comparison or an attribution that has no answer at all."""

    code = "CS403"
    title = "No plan meets the conditions"
    means = "Every plan that was tried breaks a condition: it does not fit, does not divide or misses the target."
    mend = "Loosen the target that the line names, or allow more cards; `search --json` counts the reasons."
    example = "costsim sensitivity h800-sxm --tpot 1us"


class Deadlock(BadInput):
    """Orders in which tasks wait for each other in a circle; the circle is named."""

    code = "CS404"
    title = "A schedule in which tasks wait for each other"
    means = "The order of a pipeline schedule lets no task of the named circle start."
    mend = "This is for who writes a schedule: change the order of the tasks that the line names."


class NotModelled(BadInput):
    """A sound question about what costsim does not compute."""

    code = "CS405"
    title = "Something that costsim does not model"
    means = "The question is sound, but no law or rule here computes that; a guess would look like an answer."
    mend = "Ask for what the line offers instead; the page on what is not modelled tells of the larger gaps."
    example = "costsim train --model qwen3.5-397b-a17b"


class Absent(BadInput):
    """A package or a program that this machine does not have."""

    code = "CS501"
    title = "Something that is not installed here"
    means = "The question needs a package beyond the light core, or a program such as a browser for PDF."
    mend = "Install what the line names; `costsim doctor` shows what is here and what is absent."


class Exhausted(BadInput):
    """More than this machine's memory or its workers could do."""

    code = "CS502"
    title = "More than this machine can do"
    means = "The question is sound, but its answer took more memory than there is, or its workers were lost."
    mend = "Ask for less at once: fewer values, a shorter trace, fewer draws or workers."


DEFECT = Meaning(
    "CS900", "defect", "A defect of costsim",
    "Something escaped that is not bad input. The exit status is 1.",
    "Please report the line with your command; COSTSIM_DEBUG=1 shows where it happened.",
)  # fmt: skip


def catalog() -> tuple[Meaning, ...]:
    """Every kind of error by its code."""
    kinds: list[type[BadInput]] = [BadInput]
    for kind in kinds:  # grows while it is walked: subclasses of subclasses too
        kinds.extend(kind.__subclasses__())
    own = [
        Meaning(kind.code, kind.__name__, kind.title, kind.means, kind.mend, kind.__dict__.get("example", ""))
        for kind in kinds if "code" in kind.__dict__
    ]  # fmt: skip
    return tuple(sorted([*own, DEFECT], key=lambda meaning: meaning.code))


def meaning(code: str) -> Meaning:
    """One kind by its code, in any case; UnknownName with the nearest codes."""
    known = {each.code: each for each in catalog()}
    if code.upper() not in known:
        raise UnknownName("error code", code, known)
    return known[code.upper()]
