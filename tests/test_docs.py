"""The documentation stays true: every command and block of README and docs/ runs and prints what the page shows, every
name and citation exists, and the site builds without a warning or a network."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import docs
from benchmarks.docs import ROOT, Block, blocks, matches, pages, prints_match, run_page, shown_outputs, steps
from costsim.cli.main import VERBS, main
from costsim.spec.accelerator import Accelerator
from costsim.spec.base import build
from costsim.spec.model import ModelSpec
from costsim.spec.price import Price

PAGES = pages()
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
#: not run from running text: what stands for the reader's own files, serves until stopped, or measures for minutes
ELSEWHERE = re.compile(
    r" > |--help|\b(?!CNY|USD)[A-Z]{2,}\b|…|A\.json|\.\.\.|costsim (profile|dashboard)|costsim hw show$"
)
#: commands in blocks of pages that do not use `console`; each says where it is run instead
IN_PLAIN_BLOCKS = {
    "pip install": "installs",
    "make": "the targets themselves",
    "costsim dashboard": "serves until stopped; the dashboard's own tests start it",
    ".venv/bin": "needs torch and minutes; the model's own tests run its parts",
}
_COMMAND = re.compile(r"^\s*(?:\$ )?((?:costsim|pip|make|torchrun|python|\.venv/bin)\b.*)$", re.M)


def said_inline() -> list[str]:
    """Commands in running text and tables, each once; one that only adds --json stands for both."""
    found = set()
    for page in PAGES:
        text = docs._FENCE.sub("", page.read_text(encoding="utf-8"))
        found |= set(re.findall(r"`(costsim \S+ [^`\n]+|costsim fleet|costsim validate)`", text))
    plain = {command for command in found if not ELSEWHERE.search(command)}
    return sorted(plain - {command.removesuffix(" --json") for command in plain if command.endswith(" --json")})


@pytest.mark.parametrize("name", NAMES)
def test_the_blocks_of_a_page_run_and_print_what_it_shows(name: str, tmp_path: Path) -> None:
    """What a reader copies from a page takes seconds; two minutes are allowed for a chip of one's own."""
    page = ROOT / name
    prints = shown_outputs(page)
    began = time.monotonic()
    ran = run_page(page, tmp_path)
    assert time.monotonic() - began < 120
    for block, step, printed in ran:
        renewed = f"`python -m benchmarks.docs {name}` writes it anew"
        if step is not None:
            where = f"{name}:{step.line}: {step.command}"
            assert matches(step.shown, printed), f"{where}\nprints another thing today; {renewed}\n{printed[:3000]}"
        else:
            wanted = prints.get(block.line)
            where = f"{name}:{block.line}: prints another thing"
            assert wanted is None or prints_match(wanted, printed), f"{where}; {renewed}\n{printed}"


@pytest.mark.parametrize("command", said_inline())
def test_a_command_in_running_text_runs(
    command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = shlex.split(command)[1:]
    monkeypatch.chdir(tmp_path)
    if words == ["report", "my.toml"]:
        assert main(["report", "--example"]) == 0
        Path("my.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(words) == 0, capsys.readouterr().err
    assert capsys.readouterr().out


def test_verbs_in_running_text_exist() -> None:
    for page in PAGES:
        for verb in re.findall(r"`costsim (\w+)", page.read_text(encoding="utf-8")):
            assert verb in VERBS, f"{page.name}: costsim {verb}"


def test_no_command_hides_in_a_block_that_is_not_run() -> None:
    for page in PAGES:
        for block in blocks(page):
            if block.language in ("console", "python", "toml", "json", "math") or block.title:
                continue
            for command in _COMMAND.findall(block.text):
                known = any(command.startswith(start) for start in IN_PLAIN_BLOCKS)
                assert known, f"{page.name}:{block.line}: {command}"


def test_a_block_that_is_not_run_says_why() -> None:
    for page in PAGES:
        for block in blocks(page):
            if block.title.startswith("not run"):
                assert len(block.reason) > 10, f"{page.name}:{block.line}"


def test_every_toml_block_is_read_by_what_it_is_for() -> None:
    readers = {"datasheet": Accelerator, "attention": ModelSpec}
    seen = 0
    for page in PAGES:
        for block in blocks(page):
            if block.language == "toml":
                _read_toml(block, readers, page)
                seen += 1
    assert seen >= 4


def _read_toml(block: Block, readers: dict[str, type[Accelerator] | type[ModelSpec]], page: Path) -> None:
    table = tomllib.loads(block.text)
    where = f"{page.name}:{block.line}"
    for price in table.get("price", []):
        assert build(Price, price, where).value > 0
    for section, reader in readers.items():
        if section in table:
            assert build(reader, table, where).id
    assert "price" in table or any(section in table for section in readers), f"{where}: nothing reads this"


def test_names_of_the_package_in_the_pages_exist() -> None:
    missing = []
    for page in PAGES:
        for name in re.findall(r"`(costsim(?:\.\w+)+)(?:\([^`]*\))?`", page.read_text(encoding="utf-8")):
            parts = name.split(".")
            if parts[-1] in ("toml", "py", "gz") or _found(parts):
                continue
            missing.append(f"{page.name}: {name}")
    assert not missing


def _found(parts: list[str]) -> bool:
    for split in range(len(parts), 0, -1):
        try:
            thing: object = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        return all((thing := getattr(thing, part, None)) is not None for part in parts[split:])
    return False


def test_citations_in_the_pages_are_in_the_bibliography() -> None:
    from docs.hooks.citations import keys

    cited = re.compile(r"\[([a-z][\w.-]+-[\w.-]+)(?:,[^\]]*)?\](?![(\[:])")
    for page in PAGES[1:]:
        text = docs._FENCE.sub("", page.read_text(encoding="utf-8"))
        text = re.sub(r"`[^`]*`", "", text)
        for key in cited.findall(text):
            assert key in keys(), f"{page.name}: [{key}]"


def test_an_own_chip_is_added_and_priced_by_copying_from_the_page_alone() -> None:
    """The page runs above, word for word; here is what a newcomer must find on it, in this order."""
    page = ROOT / "docs" / "howto" / "add-a-chip.md"
    written = [block.file for block in blocks(page) if block.file]
    assert written[0] == "acme-x1.toml"
    commands = [step for block in blocks(page) if block.language == "console" for step in steps(block)]
    assert commands[0].command == "costsim hw show ./acme-x1.toml"
    priced = commands[1]
    assert "--accelerator ./acme-x1.toml" in priced.command
    assert "--price" in priced.command
    assert any("USD per Mtok output" in line for line in priced.shown)


class _Fetched(HTMLParser):
    """What a browser would fetch for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.urls.append(given.get("src") or "")
        if tag == "link" and given.get("rel") in ("stylesheet", "preconnect", "icon", "preload"):
            self.urls.append(given.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [name for name in ("mkdocs", "material", "latex2mathml") if find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (pip install 'costsim[docs]')")
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    nowhere = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https", "HTTP", "HTTPS")}
    environment = os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_builds_with_every_verb_package_and_error(site: Path) -> None:
    from costsim import errors

    for verb in VERBS:
        assert (site / "reference" / "cli" / f"{verb}.html").is_file()
    for kind in (kind for kind in vars(errors).values() if hasattr(kind, "code") and isinstance(kind, type)):
        if not isinstance(kind.code, str):
            continue  # a record that has a code is no kind of error
        assert (site / "reference" / "errors" / f"{kind.code.lower()}.html").is_file(), kind.code
    packages = {path.parent.name for path in (ROOT / "costsim").glob("*/__init__.py")} - {"cli"}
    for package in packages:
        assert (site / "reference" / "api" / f"{package}.html").is_file(), package
    assert "--batch-per-gpu" in (site / "reference" / "cli" / "infer.html").read_text(encoding="utf-8")
    assert "published_bubble_s" in (site / "reference" / "api" / "schedule.html").read_text(encoding="utf-8")


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        parser = _Fetched()
        parser.feed(path.read_text(encoding="utf-8"))
        away = [url for url in parser.urls if re.match(r"(https?:)?//", url)]
        assert not away, f"{path.name}: {away}"
    for path in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path.name


def test_formulas_and_citations_are_drawn(site: Path) -> None:
    text = (site / "equations" / "kernels.html").read_text(encoding="utf-8")
    assert text.count("<math") >= 10
    assert "$`" not in text
    assert "bibliography.html#roofline" in text


#: opens the site from the disk as a reader does; a process of its own, since a browser may be open in this one
READER = """
import json, sys
from playwright.sync_api import sync_playwright
site, where = sys.argv[1:]
told = {"complaints": [], "elsewhere": [], "wide": []}
with sync_playwright() as running:
    browser = running.chromium.launch(executable_path=where, args=["--no-sandbox", "--disable-dev-shm-usage"])
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.on("pageerror", lambda error: told["complaints"].append(str(error)))
    page.on("request", lambda r: r.url.startswith(("file:", "data:", "about:")) or told["elsewhere"].append(r.url))
    for name in ("index.html", "equations/kernels.html", "reference/cli/infer.html", "reference/accelerators.html"):
        page.goto(f"file://{site}/{name}")
        if page.evaluate("document.documentElement.scrollWidth") > 390:
            told["wide"].append(name)
    page.set_viewport_size({"width": 1300, "height": 900})
    page.click(".md-search__input")
    page.keyboard.type("add chip")
    first = page.locator(".md-search-result__item h1").first
    first.wait_for(timeout=60_000)
    told["found"] = first.inner_text()
    browser.close()
print(json.dumps(told))
"""


@pytest.mark.browser
def test_the_site_opens_from_the_disk_searches_and_fits_a_phone(site: Path) -> None:
    where = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if where is None or find_spec("playwright") is None:
        pytest.skip("needs Chromium and playwright (Debian: apt-get install chromium; extra dev)")
    command = [sys.executable, "-c", READER, str(site), where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told == {"complaints": [], "elsewhere": [], "wide": [], "found": "Add a chip"}


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (("a", "…", "d"), "a\nb\nc\nd\n", True),
        (("a", "…"), "a\n", True),
        (("a", "b"), "a\nc\n", False),
        (("…", "d"), "a\n", False),
        ((), "anything", True),
    ],
)
def test_shown_output_is_compared_line_by_line(shown: tuple[str, ...], printed: str, same: bool) -> None:
    assert matches(shown, printed) is same


def test_a_wrong_page_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ costsim models show nothing\n```\n", encoding="utf-8")
    (tmp_path / "run").mkdir()
    with pytest.raises(AssertionError, match="exit status 2"):
        run_page(page, tmp_path / "run")
    page.write_text("```console\n$ costsim --version\ncostsim 0.0.0\n```\n", encoding="utf-8")
    (tmp_path / "again").mkdir()
    ((block, step, printed),) = run_page(page, tmp_path / "again")
    assert step == steps(block)[0]
    assert not matches(step.shown, printed)
    page.write_text("```console\n$ costsim --version\ncostsim 0.0.0\n```\nafter\n", encoding="utf-8")
    (tmp_path / "anew").mkdir()
    assert docs.rewritten(page, tmp_path / "anew").splitlines()[2] == printed.strip()
