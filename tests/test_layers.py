"""The architecture as a test: imports run downward, nothing heavy loads early, files stay readable, citations exist."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "costsim"
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in FILES]

LAYER = {
    "errors": 0, "version": 0, "units": 0, "num": 0, "files": 0, "frames": 0,
    "spec": 1,
    "physics": 2,
    "timing": 3, "calibration": 3,
    "schedule": 4, "placement": 4, "economics": 4, "network": 4, "trace": 4,
    "serving": 5,
    "predict": 6,
    "explore": 7, "evidence": 7, "report": 7,
    "cli": 8, "costsim": 9,
}  # fmt: skip
#: parts of one layer that may import each other in this direction
SIDEWAYS = {
    ("calibration", "timing"), ("units", "errors"), ("files", "errors"), ("evidence", "explore"), ("report", "explore"),
    ("report", "evidence"),
}  # fmt: skip
#: parts that may import these and nothing else of the library
ONLY = {
    "schedule": {"errors", "units", "num"},
    "placement": {"errors", "files", "units", "num", "spec"},
    "economics": {"errors", "units", "num", "spec"},
    "network": {"errors", "units", "num", "frames", "spec", "physics", "timing"},
}
#: modules that a part must not know, by the prefix of their names
FORBIDDEN = {
    "physics": ("costsim.spec.accelerator", "costsim.spec.cluster", "costsim.spec.price"),
    "timing": ("costsim.spec.model", "costsim.spec.plan"),
}
#: packages that only verbs load, inside their functions
OUTSIDE = ("torch", "streamlit", "model", "dashboards")
MAX_FILE_LINES, MAX_FUNCTION_LINES = 350, 60

Import = tuple[str, int, bool]


def part_of(path: Path) -> str:
    """``costsim/spec/plan.py`` → ``spec``; the package's own ``__init__`` → ``costsim``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "costsim" if parts == ("__init__",) else parts[0]


def imports(path: Path) -> Iterator[Import]:
    """(module, line, whether inside a function) of every import; type-checking blocks count too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in inner
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write it in full"
            assert node.module is not None
            # "from costsim.spec import plan" imports costsim.spec.plan
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno, id(node) in inner


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_imports_run_downward(path: Path) -> None:
    part = part_of(path)
    assert part in LAYER, f"costsim/{part} has no layer; give it one in tests/test_layers.py and in the README"
    for module, line, _ in imports(path):
        if module.split(".")[0] != "costsim":
            continue
        target = module.split(".")[1]
        where = f"{path.relative_to(ROOT)}:{line} imports {module}"
        assert target in LAYER, f"{where}: unknown part"
        if target == part or (part, target) in SIDEWAYS:
            continue
        assert LAYER[target] < LAYER[part], f"{where}: {part} (layer {LAYER[part]}) may not import {target}"
        assert target in ONLY.get(part, LAYER), f"{where}: {part} may import only {sorted(ONLY[part])}"
        assert not module.startswith(FORBIDDEN.get(part, ())), f"{where}: {part} may not know it"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_heavy_packages_stay_outside(path: Path) -> None:
    for module, line, inside in imports(path):
        top = module.split(".")[0]
        allowed = top not in OUTSIDE or (part_of(path) == "cli" and inside)
        assert allowed, f"{path.relative_to(ROOT)}:{line}: {top} may be imported only inside functions of costsim/cli"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_only_the_command_line_prints(path: Path) -> None:
    if part_of(path) == "cli":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        assert not called, f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: print outside costsim/cli"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    assert lines <= MAX_FILE_LINES, f"{path.relative_to(ROOT)}: {lines} lines; split it"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}, {length} lines"


def test_importing_costsim_loads_nothing_heavy() -> None:
    code = "import sys, costsim; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "scipy", "plotly", "pandas", "numpy", "pydantic", "streamlit", "networkx"}


def test_predicting_needs_neither_torch_nor_pandas_nor_plotly() -> None:
    code = (
        "import sys, costsim\n"
        "costsim.load_model('deepseek-v3'), costsim.load_accelerator('h800-sxm')\n"
        "[getattr(costsim, name) for name in costsim.__all__]\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {name.split(".")[0] for name in done.stdout.split()} & {"torch", "scipy", "plotly", "pandas"}


#: [deepseek-v3-report], [dualpipe, table 2], [zero-bubble, eq. 3; gpipe]: kebab-case, a locator or nothing behind it.
#: Shapes like [batch, sequence] do not match: their second word is no locator, and a key alone needs a hyphen.
LOCATOR = (
    r"(?:eq|sec|table|tab|fig|app|ch|p|pp|step|listing|alg|row|rows|note|file|readme|section|figure|appendix|cell)"
)
CITATION = re.compile(rf"\[([a-z0-9]+(?:-[a-z0-9]+)+|[a-z0-9]+(?:-[a-z0-9]+)*(?=, {LOCATOR}\b))((?:[,;][^\[\]]*)?)\]")
KEY_IN_LIST = re.compile(rf"(?:^|;)\s*([a-z0-9]+(?:-[a-z0-9]+)+|[a-z0-9]+(?=, {LOCATOR}\b))")


def cited_in(docstring: str) -> set[str]:
    """The bib keys that a docstring cites."""
    keys = set()
    for match in CITATION.finditer(" ".join(docstring.split())):
        keys |= set(KEY_IN_LIST.findall(match.group(1) + match.group(2)))
    return keys


def test_citations_are_told_from_shapes() -> None:
    assert cited_in("see [deepseek-v3-report, sec. 3.4.1]") == {"deepseek-v3-report"}
    assert cited_in("as in [dualpipe, table 2; zero-bubble, eq. 3]") == {"dualpipe", "zero-bubble"}
    assert cited_in("from [zero-bubble]") == {"zero-bubble"}
    assert cited_in("logits [batch, sequence, vocabulary], [tokens], x[i], [0, 1], [minimum, maximum]") == set()


def test_cited_works_are_in_the_bibliography() -> None:
    bib = (ROOT / "hwprofiles" / "references.bib").read_text(encoding="utf-8")
    known = set(re.findall(r"^@\w+\{([^,\s]+),", bib, flags=re.MULTILINE))
    missing = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                cited = cited_in(ast.get_docstring(node) or "")
                missing += [f"{path.relative_to(ROOT)}: [{key}]" for key in sorted(cited - known)]
    assert not missing, "cited but not in hwprofiles/references.bib: " + ", ".join(missing)
