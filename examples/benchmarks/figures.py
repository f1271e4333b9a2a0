"""Pictures of the benchmarks."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from machine import Machine
from results import Row

COLORS = {
    "compiled": "#1b6ca8",
    "trainable": "#7fb2d6",
    "reference": "#555555",
    "reference-directed": "#a0a0a0",
    "pyg": "#d1702c",
    "torchmdnet": "#e8b36b",
}


def draw_comparison(path: Path, rows: Sequence[Row], machine: Machine) -> None:
    """Draw time of a step (above) and peak memory (below), one column of panels for each number of beads."""
    beads = sorted({row.beads for row in rows})
    figure, axes = plt.subplots(2, len(beads), figsize=(1.0 + 3.6 * len(beads), 6.0), sharey="row", squeeze=False)
    for column, n_beads in enumerate(beads):
        here = [row for row in rows if row.beads == n_beads]
        _bars(axes[0, column], here, lambda row: row.seconds_per_step and 1e3 * row.seconds_per_step)
        _bars(axes[1, column], here, lambda row: row.peak_bytes and row.peak_bytes / 1e6)
        axes[0, column].set_title(f"{n_beads} beads")
        axes[1, column].set_xlabel("replicas")
    axes[0, 0].set_ylabel("time of a step / ms")
    axes[1, 0].set_ylabel("peak memory / MB")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels), frameon=False, fontsize=9)
    figure.text(0.5, 0.005, str(machine), ha="center", fontsize=7, color="0.4")
    figure.tight_layout(rect=(0.0, 0.02, 1.0, 0.95))
    _save(figure, path)


def _bars(axis: plt.Axes, rows: Sequence[Row], value: Callable[[Row], float | None]) -> None:
    """One group of bars for each number of replicas; what was not measured is marked by a cross at the bottom."""
    names = list(dict.fromkeys(row.contestant for row in rows))
    replicas = sorted({row.replicas for row in rows})
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        for row in (each for each in rows if each.contestant == name):
            x = replicas.index(row.replicas) + (number - 0.5 * (len(names) - 1)) * width
            height = value(row)
            if height:
                axis.bar(x, height, width, color=COLORS[name])
            else:
                axis.plot(x, 0.03, "x", color=COLORS[name], markersize=4, transform=axis.get_xaxis_transform())
        axis.bar(0, np.nan, color=COLORS[name], label=name)
    axis.set_xticks(range(len(replicas)), [str(each) for each in replicas])
    if any(value(row) for row in rows):
        axis.set_yscale("log")
    axis.grid(axis="y", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
