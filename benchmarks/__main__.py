"""`make bench`: every benchmark in turn."""

from __future__ import annotations

from benchmarks import schedules, startup, sweep, training_search

if __name__ == "__main__":
    startup.main()
    sweep.main()
    training_search.main()
    schedules.main()
