"""`costsim completion SHELL`: a script that completes verbs, options, their words, and names of the catalogs."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from costsim.cli import names
from costsim.errors import BadOption, UnknownName

NAME = "completion"
HELP = "a script for your shell: verbs, options, model and accelerator ids by the Tab key"
EXAMPLE = """
eval "$(costsim completion bash)"
costsim completion zsh > ~/.zfunc/_costsim
costsim completion fish > ~/.config/fish/completions/costsim.fish
"""
SHELLS = ("bash", "zsh", "fish")
#: option -> what the catalogs offer it; a path of one's own is offered beside
_NAMED: dict[str, Callable[[], list[str]]] = {
    "--model": names.models, "--accelerator": names.accelerators, "--cluster": names.clusters, "--price": names.prices,
    "--recipe": names.recipes, "--trace": names.traces, "--day": names.fleets, "--run": names.runs,
}  # fmt: skip
#: verb -> words of its arguments, the first one and all later ones
_ARGUMENTS: dict[str, tuple[Callable[[], list[str]], Callable[[], list[str]]]] = {
    "hw": (lambda: ["list", "show"], names.accelerators),
    "models": (lambda: ["list", "show"], names.models),
    "network": (lambda: ["list", "show"], lambda: sorted([*names.clusters(), *names.topologies()])),
    "claims": (names.claims, names.claims),
    "sensitivity": (names.accelerators, names.accelerators),
    "completion": (lambda: list(SHELLS), list),
}
#: metavars of options whose value is a path
_PATHS = ("FILE", "DIR", "SCENARIO", "A", "B")


@dataclass(frozen=True)
class Option:
    """One option of a verb: its spellings, whether a value follows, and what can be offered for it."""

    flags: tuple[str, ...]
    takes_value: bool
    words: tuple[str, ...]
    path: bool
    help: str


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", help=f"one of {', '.join(SHELLS)}")


def run(args: argparse.Namespace) -> int:
    if args.shell not in SHELLS:
        raise UnknownName("shell", args.shell, SHELLS)
    if args.json or args.out:
        raise BadOption("completion prints a shell script; it takes neither --json nor --out (redirect it: > FILE)")
    sys.stdout.write({"bash": bash, "zsh": zsh, "fish": fish}[args.shell]())
    return 0


def options() -> dict[str, list[Option]]:
    """Every verb's options, from the parsers themselves."""
    from costsim.cli.main import available, load_verb
    from costsim.cli.parser import verb_parser

    found: dict[str, list[Option]] = {}
    for name in available():
        verb = load_verb(name)
        parser = verb_parser(verb.NAME, verb.HELP, verb.EXAMPLE)
        verb.configure(parser)
        found[name] = [_option(action) for action in parser._actions if action.option_strings]
    return found


def _option(action: argparse.Action) -> Option:
    flags = tuple(action.option_strings)
    named = next((_NAMED[flag] for flag in flags if flag in _NAMED), None)
    words = tuple(named()) if named is not None else tuple(getattr(action, "words", ()))
    first = action.metavar if isinstance(action.metavar, str) else ""
    path = first in _PATHS or (named is not None and flags[0] in ("--model", "--accelerator", "--cluster", "--trace"))
    text = (action.help or "").split("; default")[0].replace("%%", "%")
    return Option(flags, action.nargs != 0, words, path, text)


def _by_words(known: dict[str, list[Option]]) -> Iterator[tuple[list[tuple[str, str]], tuple[str, ...], bool]]:
    """((verb, flag) pairs that share words, the words, whether paths go with them) of options that take a value."""
    groups: dict[tuple[tuple[str, ...], bool], list[tuple[str, str]]] = {}
    for verb, each in known.items():
        for option in each:
            if option.takes_value:
                groups.setdefault((option.words, option.path), []).extend((verb, flag) for flag in option.flags)
    for (words, path), pairs in groups.items():
        yield pairs, words, path


def _flags(known: dict[str, list[Option]], verb: str) -> str:
    return " ".join(flag for option in known[verb] for flag in option.flags)


def _quoted(words: Sequence[str]) -> str:
    return shlex.quote(" ".join(words))


def bash() -> str:
    """Names of a comma list complete one by one; ``--option=value`` and paths work."""
    known = options()
    values = "\n".join(
        f"    {'|'.join(f'{verb}:{flag}' for verb, flag in pairs)}) words={_quoted(words)} path={int(path)} value=1 ;;"
        for pairs, words, path in _by_words(known)
    )
    flags = "\n".join(f"    {verb}) flags={shlex.quote(_flags(known, verb))} ;;" for verb in known)
    return _BASH.format(verbs=_quoted(list(known)), values=values, flags=flags, arguments=_arguments())


def _arguments() -> str:
    lines = []
    for verb, (head, rest) in _ARGUMENTS.items():
        first, later = _quoted(head()), _quoted(rest())
        lines.append(f"    {verb}) if (( COMP_CWORD == 2 )); then words={first} path=0; else words={later}; fi ;;")
    return "\n".join(lines)


_BASH = """\
# bash completion of costsim; eval "$(costsim completion bash)" in ~/.bashrc, or a file of
# ~/.local/share/bash-completion/completions
_costsim() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" verb="${{COMP_WORDS[1]}}"
  local words='' flags='' head='' path=1 value=0
  if [[ $cur == '=' ]]; then cur=''; elif [[ $prev == '=' ]]; then prev="${{COMP_WORDS[COMP_CWORD-2]}}"; fi
  COMPREPLY=()
  if (( COMP_CWORD == 1 )); then COMPREPLY=( $(compgen -W {verbs} -- "$cur") ); return; fi
  case "$verb:$prev" in
{values}
  esac
  if (( ! value )); then
    case "$verb" in
{flags}
    esac
    if [[ $cur == -* ]]; then COMPREPLY=( $(compgen -W "$flags" -- "$cur") ); return; fi
    case "$verb" in
{arguments}
    esac
  fi
  if [[ $cur == *,* ]]; then head="${{cur%,*}},"; cur="${{cur##*,}}"; fi
  if [[ -n $words ]]; then COMPREPLY=( $(compgen -P "$head" -W "$words" -- "$cur") ); fi
  if (( path )); then COMPREPLY+=( $(compgen -f -- "$cur") ); fi
}}
complete -o filenames -F _costsim costsim
"""


def zsh() -> str:
    """The same for zsh, as a function that can be evaluated or found in fpath."""
    known = options()
    values = "\n".join(
        f"    ({'|'.join(f'{verb}:{flag}' for verb, flag in pairs)}) words_=({' '.join(map(shlex.quote, words))}) "
        f"path_={int(path)} value=1 ;;"
        for pairs, words, path in _by_words(known)
    )
    flags = "\n".join(f"    ({verb}) flags=({_flags(known, verb)}) ;;" for verb in known)
    arguments = "\n".join(
        f"    ({verb}) if (( CURRENT == 3 )); then words_=({' '.join(map(shlex.quote, head()))}) path_=0; "
        f"else words_=({' '.join(map(shlex.quote, rest()))}); fi ;;"
        for verb, (head, rest) in _ARGUMENTS.items()
    )
    return _ZSH.format(verbs=" ".join(known), values=values, flags=flags, arguments=arguments)


_ZSH = """\
#compdef costsim
# zsh completion of costsim: eval "$(costsim completion zsh)" after compinit, or a file _costsim of fpath
_costsim() {{
  local verb="${{words[2]}}" prev="${{words[CURRENT-1]}}" path_=1 value=0
  local -a words_ flags
  if (( CURRENT == 2 )); then compadd -- {verbs}; return; fi
  if compset -P 1 '--*='; then prev="${{IPREFIX%=}}"; prev="${{prev##* }}"; fi
  case "$verb:$prev" in
{values}
  esac
  if (( ! value )); then
    case "$verb" in
{flags}
    esac
    if [[ $PREFIX == -* ]]; then compadd -- $flags; return; fi
    case "$verb" in
{arguments}
    esac
  fi
  compset -P '*,'
  (( $#words_ )) && compadd -- $words_
  (( path_ )) && _files
  return 0
}}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _costsim "$@"; else compdef _costsim costsim; fi
"""


def fish() -> str:
    """One line an option, with its help."""
    from costsim.cli.main import load_verb

    known = options()
    lines = ["# fish completion of costsim", "complete -c costsim -f"]
    lines += [
        f"complete -c costsim -n __fish_use_subcommand -a {verb} -d {_fish(load_verb(verb).HELP)}" for verb in known
    ]
    for verb, each in known.items():
        seen = f"complete -c costsim -n '__fish_seen_subcommand_from {verb}'"
        for option in each:
            spelled = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
            kind = "" if not option.takes_value else " -r -F" if option.path else " -x"
            words = f" -a {_fish(' '.join(option.words))}" if option.words else ""
            lines.append(f"{seen} {spelled}{kind}{words} -d {_fish(option.help[:80])}")
        if verb in _ARGUMENTS:
            head, rest = _ARGUMENTS[verb]
            lines.append(f"{seen} -a {_fish(' '.join(dict.fromkeys([*head(), *rest()])))}")
        elif verb in ("report", "diff", "trace", "explain"):
            lines.append(f"{seen} -F")
    return "\n".join(lines) + "\n"


def _fish(text: str) -> str:
    """A word of fish: in its quotes only the quote and the backslash are special."""
    return "'" + " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'") + "'"
