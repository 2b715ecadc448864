"""Python reference: a page a package, from the source's own signatures and docstrings. Nothing is imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "costsim"
#: pages in the order of the layers, with what each part knows
PARTS = {
    ".": "Errors and units: what every part may use",
    "spec": "What things are: models, accelerators, clusters, plans, prices, scenarios",
    "physics": "Demand: FLOPs, bytes and messages of a model; no chip, no price",
    "physics/training": "Demand of training: passes, states, what is kept for the backward pass",
    "timing": "Supply: seconds of a kernel or a collective on a device",
    "calibration": "Measurements into laws",
    "calibration/sources": "Readers of measured tables and logs",
    "network": "Topologies as graphs, link loads, collectives under contention",
    "schedule": "Pipeline schedules: events and closed forms",
    "placement": "Expert loads and where experts sit",
    "serving": "The request-level engine",
    "trace": "Profiler traces",
    "economics": "USD, joules, goodput, the cost ladder",
    "predict": "One question, one report",
    "predict/training": "Training steps and runs",
    "predict/post": "Post-training steps and recipes",
    "explore": "Many questions: searches, frontiers, differences, sensitivity",
    "evidence": "Measured truth: points, validation",
    "evidence/claims": "Public claims, computed and judged",
    "report": "How answers look: tables, figures, HTML",
}

#: decorators that tell a reader how to call
KEPT_MARKS = ("property", "classmethod", "staticmethod")
#: a search finds what explains a word before what has it in its name
QUIET = "---\nsearch: {boost: 0.0005}\n---\n"


def pages() -> list[tuple[str, str, str]]:
    listed = [part for part in PARTS if (PACKAGE / part).is_dir()]
    found = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("__init__.py")}
    more = sorted(found - {"cli"} - set(listed))  # a package that this table does not name yet
    parts = [*listed, *more]
    pages = [(_name(part), f"reference/api/{_page(part)}", _package_page(part)) for part in parts]
    return [("The public names", "reference/api/index.md", _index(parts)), *pages]


def _name(part: str) -> str:
    return "costsim" if part == "." else f"costsim.{part.replace('/', '.')}"


def _page(part: str) -> str:
    return "costsim.md" if part == "." else f"{part.replace('/', '-')}.md"


def _index(parts: list[str]) -> str:
    lines = [
        "# Python", "",
        "`import costsim` is light; each name loads on first use. Arguments and results are frozen records.",
        "Numbers are SI floats named for their unit (`_s`, `_bytes`, `_flop`, `_usd`, `_w`, `_j`).", "",
    ]  # fmt: skip
    lines += ["## Names of `costsim`", "", "| name | does |", "|---|---|"]
    sources = {name: _definition(home, name) for name, home in sorted(public_names().items())}
    for name, home in sorted(public_names().items()):
        lines.append(f"| [`{name}`]({_page_of(home)}#{home}.{name}) | {_first(sources[name])} |")
    lines += ["", "## Packages", "", "| package | what |", "|---|---|"]
    lines += [f"| [`{_name(part)}`]({_page(part)}) | {PARTS.get(part, '')} |" for part in parts]
    return "\n".join(lines) + "\n"


def public_names() -> dict[str, str]:
    """The names of ``costsim/__init__.py`` and the modules that define them."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_HOME":
            return dict(ast.literal_eval(node.value))
    raise LookupError("costsim/__init__.py: no table _HOME")


def _file(module: str) -> Path:
    base = ROOT / module.replace(".", "/")
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _page_of(module: str) -> str:
    """The page that documents a module, beside this one."""
    return _page(_file(module).parent.relative_to(PACKAGE).as_posix())


def _definition(module: str, name: str) -> str:
    """The docstring of a name in a module, or in the module that it is imported from."""
    tree = ast.parse(_file(module).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return ast.get_docstring(node) or ""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and any(alias.name == name for alias in node.names):
            return _definition(node.module, name)
    return ""


def _first(doc: str) -> str:
    return _text(doc.split("\n\n")[0].replace("\n", " ")).replace("|", "\\|")


def _package_page(part: str) -> str:
    name = _name(part)
    lines = [QUIET, f"# {name}", "", f"{PARTS[part]}." if part in PARTS else "", ""]
    for path in sorted((PACKAGE / part).glob("*.py")):
        own = path.stem == "__init__"
        if part == "." and own:
            continue  # its names are the index
        module = name if own else f"{name}.{path.stem}"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        entries = [entry for node in tree.body for entry in _entry(node, module)]
        doc = ast.get_docstring(tree) or ""
        if own:
            lines += [*(_doc(doc) if len(doc) > 60 else []), *_reexported(tree, module), *entries]
        elif entries or doc:
            lines += [f"## {module} {{#{module}}}", "", *_doc(doc), "", *entries]
    return "\n".join(lines) + "\n"


def _reexported(tree: ast.Module, module: str) -> list[str]:
    """Names that the package passes on, with anchors, so that links to them land."""
    names = [alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    names = [name for name in names if not name.startswith("_") and name != "annotations"]
    marked = ", ".join(f"`{name}`{{#{module}.{name}}}" for name in names)
    return [f"`{module}` itself offers {marked}.", ""] if names else []


def _entry(node: ast.stmt, module: str) -> Iterator[str]:
    """A public function or class in Markdown."""
    if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
        yield from [f"### `{node.name}` {{#{module}.{node.name}}}", "", *_code(_signature(node)),
                    *_doc(ast.get_docstring(node) or ""), ""]  # fmt: skip
    if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
        yield from [f"### class `{node.name}` {{#{module}.{node.name}}}", ""]
        fields = [ast.unparse(item) for item in node.body if isinstance(item, ast.AnnAssign) and _shown(item)]
        bases = f"({', '.join(ast.unparse(base) for base in node.bases)})" if node.bases else ""
        if "Enum" in bases:
            fields += [ast.unparse(item) for item in node.body if isinstance(item, ast.Assign)]
        yield from _code("\n".join([f"class {node.name}{bases}:", *(f"    {line}" for line in fields)]))
        yield from [*_doc(ast.get_docstring(node) or ""), ""]
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and not item.name.startswith("_") and ast.get_docstring(item):
                yield from [*_code(_signature(item)), *_doc(ast.get_docstring(item) or ""), ""]


def _shown(item: ast.AnnAssign) -> bool:
    name = getattr(item.target, "id", "_")
    return not name.startswith("_") and "ClassVar" not in ast.unparse(item.annotation)


def _signature(node: ast.FunctionDef) -> str:
    marks = [f"@{ast.unparse(mark)}" for mark in node.decorator_list if ast.unparse(mark).endswith(KEPT_MARKS)]
    return "\n".join([*marks, _head(node)])


def _head(node: ast.FunctionDef) -> str:
    head = f"def {node.name}({ast.unparse(node.args)})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")
    if len(head) <= 100:
        return head
    arguments = node.args
    plain = [ast.unparse(ast.arguments(args=[argument], posonlyargs=[], kwonlyargs=[], kw_defaults=[], defaults=[]))
             for argument in [*arguments.posonlyargs, *arguments.args]]  # fmt: skip
    for at, value in enumerate(reversed(arguments.defaults), start=1):
        plain[-at] += f" = {ast.unparse(value)}"
    plain += [f"*{arguments.vararg.arg}"] if arguments.vararg else (["*"] if arguments.kwonlyargs else [])
    for argument, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        said = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
        plain.append(f"{argument.arg}{said}" + (f" = {ast.unparse(value)}" if value else ""))
    tail = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return "\n".join([f"def {node.name}(", *(f"    {text}," for text in plain), f"){tail}"])


def _code(text: str) -> list[str]:
    return ["```python", text, "```", ""]


def _doc(doc: str) -> list[str]:
    """A docstring as Markdown: roles and double backquotes to code, examples to blocks, stars and angles literal."""
    out: list[str] = []
    for paragraph in doc.split("\n\n"):
        lines = paragraph.splitlines()
        if lines and (lines[0].lstrip().startswith(">>>") or all(line.startswith("    ") for line in lines)):
            out += ["```python" if ">>>" in lines[0] else "```text", *(line[4:] if line.startswith("    ") else line
                                                                       for line in lines), "```", ""]  # fmt: skip
        elif lines:
            out += [_text(paragraph), ""]
    return out


def _text(text: str) -> str:
    text = re.sub(r":(?:func|class|mod|data|meth):`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if at % 2 else re.sub(r"([*<>])", r"\\\1", piece) for at, piece in enumerate(pieces))
