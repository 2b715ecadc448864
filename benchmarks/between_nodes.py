"""Fit the law of all-reduces between nodes to published runs and write it: ``python -m benchmarks.between_nodes``."""

from __future__ import annotations

from costsim.calibration.between import LAW, law_text, read_runs

if __name__ == "__main__":
    LAW.write_text(law_text(read_runs()), encoding="utf-8")
