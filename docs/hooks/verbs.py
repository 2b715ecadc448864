"""Command-line reference: a page a verb, from the argparse parser that the verb itself configures."""

from __future__ import annotations

import argparse

from costsim.cli.main import available, load_verb
from costsim.cli.output import FORMATS
from costsim.cli.parser import verb_parser


def pages() -> list[tuple[str, str, str]]:
    verbs = available()
    rows = "\n".join(f"| [{name}]({name}.md) | {_cell(load_verb(name).HELP)} |" for name in verbs)
    index = _INDEX.format(rows=rows, formats=", ".join(f"`.{name}`" for name in FORMATS))
    return [("All verbs", "reference/cli/index.md", index), *((name, f"reference/cli/{name}.md", _page(name))
                                                             for name in verbs)]  # fmt: skip


_INDEX = """# Command line

`costsim VERB [options]`. `costsim VERB --help` prints what these pages say.

| verb | does |
|---|---|
{rows}

## What all verbs share

- `--json`: one JSON document on standard output and nothing else. `--out FILE`: also write the answer, in the format of
  the file's extension ({formats}; some verbs take more).
- Numbers take lists and ranges where the help says so: `8,16,32`, `1:1024` (both ends included), `64:1024:64`.
- Quantities take their unit: `50ms`, `"2 USD/h"`, `64kB`. A bare number is refused where a unit is needed.
- Exit status: 0 answered, 2 bad input (one line on standard error: what, where, what would work), 1 a defect of
  costsim, 130 interrupted. `COSTSIM_DEBUG=1` shows where a defect came from.
- Names are ids of a catalog or paths of your own files. A path never reaches the network.
- Nothing is written but what `--out` and options of that kind name. A file appears whole or not at all.
"""


def _page(name: str) -> str:
    verb = load_verb(name)
    parser = verb_parser(verb.NAME, verb.HELP, verb.EXAMPLE)
    verb.configure(parser)
    parser.formatter_class = lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=84)
    text = [f"# costsim {name}", "", verb.HELP[:1].upper() + verb.HELP[1:] + ".", ""]
    text += ["```text", parser.format_usage().removeprefix("usage: ").rstrip(), "```", "", "## Examples", ""]
    text += ["```text", *(line.strip() for line in verb.EXAMPLE.strip().splitlines()), "```", ""]
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        actions = [action for action in actions if not isinstance(action, argparse._HelpAction)]
        if not actions:
            continue
        title = (group.title or "options").replace("positional arguments", "arguments")
        text += [f"## {title[:1].upper()}{title[1:]}", "", "| option | meaning |", "|---|---|"]
        text += [f"| {_flag(action)} | {_cell(_help(parser, action))} |" for action in actions]
        text.append("")
    return "\n".join(text)


def _flag(action: argparse.Action) -> str:
    """``--gpus N``, or the name of a positional argument; what may be left out stands in brackets."""
    value = action.metavar if isinstance(action.metavar, str) else action.dest
    if not action.option_strings:
        return f"`[{value}]`" if action.nargs in ("?", "*") else f"`{value}`"
    if action.nargs == 0:
        return f"`{', '.join(action.option_strings)}`"
    shown = f"[{value}]" if action.nargs == "?" else value
    return f"`{', '.join(action.option_strings)} {shown}`"


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    values = {**vars(action), "prog": parser.prog}
    return (action.help or "") % {name: value for name, value in values.items() if value is not argparse.SUPPRESS}


def _cell(text: str) -> str:
    text = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
    return text[:1].upper() + text[1:]
