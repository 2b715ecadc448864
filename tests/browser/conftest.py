"""One server and one headless Chromium for all browser tests of a process; screenshots under out/screenshots."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="needs the extra dashboard")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "out" / "screenshots"
#: patience with a page, longer on a machine that others use
WAIT_MS = int(os.environ.get("BROWSER_WAIT_MS", "60000"))
playwright.expect.set_options(timeout=WAIT_MS)  # its own 5 s are for a machine of one's own
#: without a screen, spinners and fades are painted by the processor that the answer needs
_STILL = """addEventListener('DOMContentLoaded', () => {
  const style = document.createElement('style');
  style.textContent = '*, *::before, *::after {animation: none !important; transition: none !important}';
  document.head.append(style);
})"""
#: how the page begins a line about what must not happen
DEFECT = "A defect of costsim"
#: Streamlit's page tries these below its own address first, and finds them at the root
EXPECTED_404 = ("/_stcore/health", "/_stcore/host-config")


def chromium() -> str | None:
    """Debian's browser, or the one that CHROMIUM names."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard started as a user starts it."""
    port = free_port()
    log = (tmp_path_factory.mktemp("dashboard") / "log").open("w+", encoding="utf-8")
    line = [sys.executable, "-m", "costsim.cli", "dashboard", "--no-browser", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=ROOT) as process:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1) as answer:
                    if answer.status == 200:
                        break
            except OSError:
                pass
            if process.poll() is not None or time.monotonic() > end:
                log.seek(0)
                pytest.fail(f"the dashboard did not start: {log.read()[-2000:]}")
            time.sleep(0.1)
        yield url
        assert process.poll() is None, "the dashboard died during the tests"
        process.terminate()
        process.wait(60)
    log.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    where = chromium()
    if where is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as running:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        opened = running.chromium.launch(executable_path=where, args=arguments)
        yield opened
        opened.close()


class Visitor:
    """A browser page with its complaints: errors of scripts, of the console, requests to elsewhere."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        view = {"viewport": {"width": 1400, "height": 1700}, "reduced_motion": "reduce"}
        self.context = browser.new_context(**(view | context))
        self.context.set_default_timeout(WAIT_MS)
        self.context.add_init_script(_STILL)
        self.page = self.context.new_page()
        self.address = address
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("console", self._console)
        self.page.on("request", self._request)

    def _console(self, message: Any) -> None:
        where = str(message.location.get("url", ""))
        if message.type == "error" and not where.endswith(EXPECTED_404):
            self.complaints.append(f"console: {message.text[:200]} {where}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.address, self.address.replace("http", "ws"), "data:", "blob:")):
            self.complaints.append(f"request to elsewhere: {request.url[:200]}")

    def go(self, path: str) -> Visitor:
        self.page.goto(f"{self.address}/{path}")
        self.page.locator("h1").first.wait_for(timeout=WAIT_MS)
        return self.settled()

    def settled(self) -> Visitor:
        """Wait until the script has run."""
        app = self.page.get_by_test_id("stApp")
        playwright.expect(app).to_have_attribute("data-test-script-state", "notRunning", timeout=WAIT_MS)
        return self

    def whole(self) -> Visitor:
        """Wait until every part of the page has arrived."""
        self.settled().page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")
        return self

    def sees(self, text: str, wait_ms: float = WAIT_MS) -> Visitor:
        """Wait for a text; a defect on the page is the end of the wait, not the text."""
        main = self.page.get_by_test_id("stMain")
        playwright.expect(main).to_contain_text(re.compile(f"{re.escape(text)}|{DEFECT}"), timeout=wait_ms)
        if text not in (found := main.text_content() or "") and DEFECT in found:
            pytest.fail(found[found.index(DEFECT) :][:300])
        return self

    def drawn(self, least: int = 1) -> Visitor:
        """Wait until so many charts are on the page."""
        self.page.locator(".js-plotly-plot .main-svg").nth(least - 1).wait_for(state="attached", timeout=WAIT_MS)
        return self

    def number(self, name: str, key: str) -> Visitor:
        """Wait until the large number ``key`` shows ``name``."""
        card = self.page.locator(f"[class*='card_{key}'] [data-testid=stMetricValue]").first
        playwright.expect(card).to_have_text(name, timeout=WAIT_MS)
        return self

    def type_in(self, label: str, value: str) -> Visitor:
        field = self.page.get_by_label(label, exact=True).first
        field.fill(value)
        field.press("Enter")
        return self

    def choose(self, name: str) -> Visitor:
        """Press one of the words that stand side by side."""
        button = self.page.get_by_role("radio", name=name, exact=True).first
        button.wait_for(state="attached")
        words = self.page.get_by_test_id("stRadio").get_by_text(name, exact=True)
        (words.first if words.count() else button).click()  # a round button is covered by its own drawing
        return self

    def shot(self, name: str) -> Visitor:
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.whole().page.screenshot(path=str(SHOTS / f"{name}.png"))
        return self

    def done(self) -> None:
        exceptions = self.page.get_by_test_id("stException").count()
        self.context.close()
        assert not self.complaints
        assert not exceptions, "a traceback is on the page"


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Visitor]]:
    """Open a fresh browser context; every one is checked for complaints at the end."""
    opened: list[Visitor] = []

    def start(path: str = "", **context: Any) -> Visitor:
        opened.append(Visitor(browser, address, **context))
        return opened[-1].go(path)

    yield start
    for visitor in opened:
        visitor.done()


@pytest.fixture(scope="session")
def said() -> Callable[..., dict[str, Any]]:
    """What the command line answers, as JSON; in this process, which saves the start of another."""
    import contextlib
    import io
    import json

    from costsim.cli import main as cli

    def ask(*argv: str) -> dict[str, Any]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert cli.main([*argv, "--json"]) == 0
        answer: dict[str, Any] = json.loads(out.getvalue())
        return answer

    return ask
