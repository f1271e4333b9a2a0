"""A long run of an analytic model in a process of its own, for tests that interrupt it: ``stepping.py DIR N_STEPS``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from tests.md.analytic import Harmonic, run, run_config


def interrupted_config(folder: Path, n_steps: int):  # type: ignore[no-untyped-def]
    return run_config(folder, n_steps=n_steps, checkpoint_interval=64, save_interval=5, log_interval=5)


if __name__ == "__main__":
    torch.set_num_threads(1)
    summary = run(interrupted_config(Path(sys.argv[1]), int(sys.argv[2])), Harmonic(300.0))
    sys.exit(0 if summary.interrupted is None else 128 + summary.interrupted)
