"""The dashboard as a visitor feels it: first page, a control's change until its new number, ten sessions at once.

Needs Chromium: python -m benchmarks.dashboard
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

#: page → label of the control, values typed in turn, the number that must change
CHANGES = {
    "": ("Requests per card", ("96", "80", "64", "48", "40", "32", "24"), "tpot_s"),
    "inference": ("Requests per card", ("95", "79", "63", "47", "39", "31", "23"), "tpot_s"),
    "training": ("Sequences per step", ("7680", "30720", "11520", "23040", "19200", "26880", "34560"), "step_s"),
}
BARS = {"first page": 5.0, "control": 1.0, "memory": 1.5e9}
SESSIONS = 10


def main() -> None:
    from playwright.sync_api import sync_playwright

    where = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    process, url = start()
    try:
        with sync_playwright() as running:
            browser = running.chromium.launch(
                executable_path=where, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
            )
            print(f"first page, nothing warm      {opened(browser, url):6.2f} s")
            print(f"first page, warm server       {opened(browser, url):6.2f} s   bar {BARS['first page']:g} s")
            for path, (label, values, number) in CHANGES.items():
                times = changed(browser, f"{url}/{path}", label, values, number)
                print(
                    f"control on {path or 'overview':<12}       {statistics.median(times):6.2f} s median, "
                    f"{max(times):.2f} s worst of {len(times)}; bar {BARS['control']:g} s"
                )
            ten_sessions(browser, url, process.pid)
            browser.close()
    finally:
        process.terminate()
        process.wait(15)


def start() -> tuple[subprocess.Popen[bytes], str]:
    """A dashboard on a free port, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = Path(__file__).resolve().parent.parent
    line = [sys.executable, "-m", "costsim.cli", "dashboard", "--no-browser", "--port", str(port)]
    process = subprocess.Popen(line, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):
                return process, url
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the dashboard did not start")


def opened(browser: Any, url: str) -> float:
    """Seconds until a fresh browser shows the first number."""
    context = browser.new_context(viewport={"width": 1400, "height": 1200})
    page = context.new_page()
    began = time.perf_counter()
    page.goto(url)
    page.locator("[class*=card_usd_per_run] [data-testid=stMetricValue]").wait_for(timeout=60_000)
    seconds = time.perf_counter() - began
    context.close()
    return seconds


def changed(browser: Any, url: str, label: str, values: tuple[str, ...], number: str) -> list[float]:
    """Seconds from Enter to another number on the page, for each value; every one is new to the server."""
    context = browser.new_context(viewport={"width": 1400, "height": 1200})
    page = context.new_page()
    page.goto(url)
    card = page.locator(f"[class*=card_{number}] [data-testid=stMetricValue]").first
    card.wait_for(timeout=60_000)
    page.wait_for_timeout(3000)
    times = []
    for value in values:
        before = card.inner_text()
        field = page.get_by_label(label, exact=True).first
        field.fill(value)
        began = time.perf_counter()
        field.press("Enter")
        while card.inner_text() == before:
            page.wait_for_timeout(10)
        times.append(time.perf_counter() - began)
        page.wait_for_timeout(1500)
    context.close()
    return times


def ten_sessions(browser: Any, url: str, pid: int) -> None:
    """Ten visitors on different pages, each with a question of its own; the server's memory at the end."""
    names = ("", "inference", "training", "search", "simulation", "inference", "training", "hardware", "validation", "")
    contexts = []
    began = time.perf_counter()
    for name in names[:SESSIONS]:
        contexts.append(browser.new_context(viewport={"width": 1200, "height": 900}))
        contexts[-1].new_page().goto(f"{url}/{name}")
    for context in contexts:
        context.pages[0].locator("h1").first.wait_for(timeout=120_000)
    for number, context in enumerate(contexts):
        field = context.pages[0].get_by_label("Requests per card", exact=True)
        if field.count():
            field.first.fill(str(20 + number))
            field.first.press("Enter")
    for context in contexts:
        context.pages[0].wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=120_000)
    print(f"{SESSIONS} sessions answered          {time.perf_counter() - began:6.2f} s")
    memory = peak_bytes(pid)
    print(f"server with {SESSIONS} sessions       {memory / 1e6:6.0f} MB peak; bar {BARS['memory'] / 1e6:.0f} MB")
    for context in contexts:
        context.close()


def peak_bytes(pid: int) -> float:
    """The largest resident size that the server has had."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    return float("nan")


if __name__ == "__main__":
    main()
