"""Wall time of the commands a person waits for, each in a fresh process, best of five."""

from __future__ import annotations

import subprocess
import sys
import time

COMMANDS = {
    "import costsim": [sys.executable, "-c", "import costsim"],
    "costsim --help": [sys.executable, "-m", "costsim.cli", "--help"],
    "costsim infer": [sys.executable, "-m", "costsim.cli", "infer"],
    "costsim report": [sys.executable, "-m", "costsim.cli", "report", "--folder", "-"],
}


def main() -> None:
    for name, command in COMMANDS.items():
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
        print(f"{name:<16} {min(times):6.2f} s wall, best of 5")


if __name__ == "__main__":
    main()
