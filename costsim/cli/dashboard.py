"""`costsim dashboard`: start the web app. It listens on this machine alone unless told otherwise."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import os
import socket
import subprocess
import sys
from pathlib import Path

from costsim.errors import Absent, BadOption

NAME = "dashboard"
HELP = "the web app: every answer with its bands, grades and sources, by mouse"
EXAMPLE = """
costsim dashboard
costsim dashboard --port 9000 --no-browser
costsim dashboard --address 0.0.0.0 --host costs.example.org
"""
PORT, ADDRESS = 8501, "127.0.0.1"
#: megabytes of one upload, and of one message between page and server
UPLOAD_MB, MESSAGE_MB = 48, 64
#: Okabe and Ito's colours, readable on a light and on a dark page
_THEME = {"light": ("#0072B2", "#ffffff", "#f4f6f8", "#1b1f24"), "dark": ("#56B4E9", "#0e1117", "#1a1f27", "#e6edf3")}


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("server")
    group.add_argument("--port", default=str(PORT), metavar="N", help=f"port to listen on ({PORT}); 0 picks a free one")
    group.add_argument(
        "--address", default=ADDRESS, metavar="IP", help=f"address to listen on ({ADDRESS}: this machine)"
    )
    group.add_argument("--host", action="append", default=[], metavar="NAME",
                       help="name under which others reach it, may be repeated; needed with --address")  # fmt: skip
    group.add_argument("--no-browser", action="store_true", help="do not open a browser")


def run(args: argparse.Namespace) -> int:
    if args.json or args.out is not None:
        raise BadOption("the dashboard has no answer to print; leave out --json and --out")
    if importlib.util.find_spec("streamlit") is None:
        raise Absent("the dashboard needs Streamlit: pip install 'costsim[dashboard]'")
    port = free_port(args.address, _port(args.port))
    line = command(args.address, port, args.host, not args.no_browser)
    if warning := exposed(args.address, args.host):
        print(f"costsim dashboard: {warning}", file=sys.stderr, flush=True)
    if os.name != "posix":
        return subprocess.call(line, env=environment())
    sys.stdout.flush()
    os.execve(line[0], line, environment())  # signals then reach the server itself


def exposed(address: str, hosts: list[str]) -> str:
    """One line on who can reach the server, where that is not this machine alone; empty otherwise."""
    if ipaddress.ip_address(address).is_loopback:
        return ""
    names = "" if hosts else " under any name (--host NAME limits that)"
    return f"listening on {address}: whoever reaches this machine can use it{names}; there is no password"


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 <= int(text[:6]) <= 65535:
        raise BadOption(f"--port {text[:40]!r}: give a whole number from 0 to 65535")
    return int(text)


def free_port(address: str, port: int) -> int:
    """The port if it can be listened on (any, for 0); BadInput in one line otherwise."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET
    except ValueError:
        raise BadOption(f"--address {address[:60]!r}: give an IP address, like 127.0.0.1 or 0.0.0.0") from None
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            why = error.strerror or str(error)
            raise BadOption(f"--port {port}: cannot listen on {address} ({why}); try --port 0") from None
        return int(probe.getsockname()[1])


def command(address: str, port: int, hosts: list[str], browser: bool) -> list[str]:
    """How Streamlit is started: no telemetry, no file watcher, bounded uploads, and only the names that were told."""
    options = {
        "server.address": address, "server.port": str(port), "server.headless": str(not browser).lower(),
        "server.maxUploadSize": str(UPLOAD_MB), "server.maxMessageSize": str(MESSAGE_MB),
        "server.showEmailPrompt": "false",
        # a widget is told its value twice, in the session and as its default: a browser may miss the first
        "global.disableWidgetStateDuplicationWarning": "true",
        "server.fileWatcherType": "none", "server.runOnSave": "false", "server.enableStaticServing": "false",
        "browser.gatherUsageStats": "false", "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none", "client.showErrorLinks": "false", "logger.level": "error",
    }  # fmt: skip
    for mode, (primary, page, panel, ink) in _THEME.items():
        options |= {f"theme.{mode}.primaryColor": primary, f"theme.{mode}.backgroundColor": page,
                    f"theme.{mode}.secondaryBackgroundColor": panel, f"theme.{mode}.textColor": ink}  # fmt: skip
    arguments = [f"--{name}={value}" for name, value in options.items()]
    loopback = ipaddress.ip_address(address).is_loopback
    # a page elsewhere must not reach this one by a name of its own that resolves here
    names = [*hosts, *(("localhost", address) if loopback or hosts else ())]
    arguments += [f"--server.allowedHosts={name}" for name in names]
    return [sys.executable, "-m", "streamlit", "run", str(app()), *arguments]


def app() -> Path:
    """The script of the app."""
    found = importlib.util.find_spec("dashboards")
    if found is None or not found.submodule_search_locations:
        raise Absent("the dashboard's files are missing; reinstall costsim")
    return Path(next(iter(found.submodule_search_locations))) / "app.py"


def environment() -> dict[str, str]:
    """This process's environment, with the folder that holds the packages on the path of the app."""
    path = [str(app().parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
