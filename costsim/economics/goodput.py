"""Goodput of a long job: how often it stops, when to save, and which share of the wall clock trains.

Failures are a Poisson process of the whole job. Symbols: M mean time between failures, C seconds a checkpoint
holds up training, R seconds from failure to the first new step, t seconds of training between checkpoints.
Everything broadcasts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costsim.num import Num
from costsim.units import HOUR_S


def mtbf_s(gpu_hours_per_failure: Num, devices: Num) -> Num:
    """Mean time between failures of a job on ``devices`` cards: any card stops all, so the rates add."""
    return gpu_hours_per_failure * HOUR_S / devices


def young_interval_s(checkpoint_s: Num, mtbf: Num) -> Num:
    """Seconds of training between checkpoints that waste least, to first order: √(2·C·M). [young-1974]"""
    return np.sqrt(2.0 * np.asarray(checkpoint_s, dtype=float) * mtbf)


def daly_interval_s(checkpoint_s: Num, mtbf: Num) -> Num:
    """Higher-order optimum: √(2CM)·(1 + ⅓·√(C/2M) + C/18M) − C where C < 2M, else M. [daly-2006]"""
    c = np.asarray(checkpoint_s, dtype=float)
    small = np.sqrt(c / (2.0 * np.asarray(mtbf)))
    higher: Num = young_interval_s(c, mtbf) * (1.0 + small / 3.0 + small**2 / 9.0) - c
    best: Num = np.where(c < 2.0 * np.asarray(mtbf), higher, mtbf)
    return best


def expected_wall_s(work_s: Num, interval_s: Num, checkpoint_s: Num, restart_s: Num, mtbf: Num) -> Num:
    """Expected wall clock of ``work_s`` seconds of training under Poisson failures, exact.

    A segment of t + C seconds succeeds or is repeated after R (which may itself fail):
    E = M·e^(R/M)·(e^((t+C)/M) − 1)·work/t. [daly-2006]
    """
    m = np.asarray(mtbf, dtype=float)
    segment = np.expm1((np.asarray(interval_s) + checkpoint_s) / m)
    wall: Num = m * np.exp(np.asarray(restart_s) / m) * segment * np.asarray(work_s) / interval_s
    return wall


def effective_time_ratio(interval_s: Num, checkpoint_s: Num, restart_s: Num, mtbf: Num) -> Num:
    """E[ETTR] ≈ (1 − (u0 + Δt/2)/M)/(1 + w/Δt): share of the wall clock that trains, first order in 1/M.

    The estimator of Meta's research clusters with N·r_f = 1/M, u0 = R, w = C and Δt = t + C; zero where a job
    would never get ahead. [meta-rsc-reliability]
    """
    period = np.asarray(interval_s) + checkpoint_s
    kept = 1.0 - (np.asarray(restart_s) + period / 2.0) / mtbf
    ratio: Num = np.maximum(kept, 0.0) / (1.0 + np.asarray(checkpoint_s) / interval_s)
    return ratio


@dataclass(frozen=True)
class Goodput:
    """A job's rhythm of saving and stopping. ``ratio`` is training seconds over wall seconds."""

    mtbf_s: Num
    checkpoint_s: Num
    restart_s: Num
    interval_s: Num
    ratio: Num
    estimate: Num

    def failures(self, wall_s: Num) -> Num:
        """Expected stops in ``wall_s`` seconds."""
        return wall_s / self.mtbf_s


def goodput(
    gpu_hours_per_failure: Num, devices: Num, checkpoint_s: Num, restart_s: Num, interval_s: Num | None = None
) -> Goodput:
    """Goodput at the given checkpoint interval, or at Daly's optimum where none is given."""
    m = mtbf_s(gpu_hours_per_failure, devices)
    interval = daly_interval_s(checkpoint_s, m) if interval_s is None else interval_s
    ratio = 1.0 / expected_wall_s(1.0, interval, checkpoint_s, restart_s, m)
    estimate = effective_time_ratio(interval, checkpoint_s, restart_s, m)
    return Goodput(m, checkpoint_s, restart_s, interval, ratio, estimate)


def checkpoint_bytes(parameters: Num) -> Num:
    """BF16 weights, FP32 master, two BF16 moments: 10 bytes a parameter. [deepseek-v3-report, sec. 3.3.2]"""
    return 10.0 * parameters


def checkpoint_s(parameters: Num, devices: Num, node_devices: Num, node_write_bytes_per_s: Num) -> Num:
    """Seconds to write a checkpoint when every node writes its own shard at the same time."""
    nodes = np.maximum(np.asarray(devices) / node_devices, 1.0)
    return checkpoint_bytes(parameters) / (nodes * node_write_bytes_per_s)
