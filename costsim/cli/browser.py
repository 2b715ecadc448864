"""A browser of Chromium's kind as a printer: a page to PDF, without a window and without a network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from costsim.errors import Absent, CannotWrite
from costsim.files import write

#: programs that print pages, in this order; COSTSIM_BROWSER names another
PROGRAMS = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge",
    "chromium-headless-shell",
)  # fmt: skip
#: where macOS keeps them
_BUNDLES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
ASK = "install Chromium (apt-get install chromium) or name one in COSTSIM_BROWSER"
#: a page that takes longer is not printed
PATIENCE_S = 180.0
#: no page may reach anything: names resolve to nothing and every proxy is a closed port
_OFFLINE = ("--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=http://127.0.0.1:9")
_QUIET = (
    "--headless", "--disable-gpu", "--no-first-run", "--disable-extensions", "--disable-sync", "--mute-audio",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--no-pdf-header-footer",
    "--run-all-compositor-stages-before-draw", "--virtual-time-budget=20000", "--force-color-profile=srgb",
)  # fmt: skip


def found() -> str | None:
    """The browser that would print, None where there is none."""
    named = os.environ.get("COSTSIM_BROWSER")
    if named:
        return shutil.which(named)
    on_path = (shutil.which(name) for name in PROGRAMS)
    return next((path for path in on_path if path), None) or next((b for b in _BUNDLES if Path(b).is_file()), None)


def needed() -> str:
    """The browser; Absent where there is none."""
    program = found()
    if program is None:
        raise Absent(f"PDF needs a browser, and none was found; {ASK}, or give --out a .html and print it")
    return program


def printed(html: str) -> bytes:
    """The page as PDF, laid out in a folder of its own that is gone afterwards. Raises Absent, CannotWrite."""
    program = needed()
    with tempfile.TemporaryDirectory(prefix="costsim-pdf-", ignore_cleanup_errors=True) as folder:
        source, target = Path(folder) / "report.html", Path(folder) / "report.pdf"
        write(source, html)
        # containers and root have no sandbox to offer; the page holds nothing that is not ours
        sandbox = ("--no-sandbox",) if getattr(os, "geteuid", lambda: 1)() == 0 else ()
        command = [program, *_QUIET, *_OFFLINE, *sandbox, f"--user-data-dir={folder}/profile",
                   f"--print-to-pdf={target}", source.as_uri()]  # fmt: skip
        told = _run(command, folder)
        if not target.is_file() or target.stat().st_size == 0:
            raise CannotWrite(
                f"{program} printed no PDF ({told or 'it said nothing'}); give --out a .html and print it"
            )
        return target.read_bytes()


def _run(command: list[str], folder: str) -> str:
    """Run to the end, or stop it with all its children; the last thing it said."""
    environment = {**os.environ, "HOME": folder, "XDG_CONFIG_HOME": folder, "XDG_CACHE_HOME": folder}
    said = Path(folder) / "said"
    try:
        with said.open("wb") as stream:
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=stream, stdin=subprocess.DEVNULL, env=environment,
                start_new_session=True,
            )  # fmt: skip
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                return f"not done after {PATIENCE_S:.0f} s"
            finally:
                _stop(process)
    except OSError as error:
        raise Absent(f"{command[0]} does not start ({error.strerror or error}); {ASK}") from None
    lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:160] if lines else ""


def _stop(process: subprocess.Popen[bytes]) -> None:
    """The browser's own children outlive it now and then."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()
