"""`make bench`: every benchmark in turn."""

from __future__ import annotations

from benchmarks import schedules, startup, sweep

if __name__ == "__main__":
    startup.main()
    sweep.main()
    schedules.main()
