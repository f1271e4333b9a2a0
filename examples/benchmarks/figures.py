"""Pictures of the benchmarks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from machine import Machine, counted
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


def draw_scaling(path: Path, points: Sequence[Any], caption: str) -> None:
    """Draw time against replicas and against pairs with fitted powers, and the gain by threads where there are any."""
    beads, threads = sorted({point.beads for point in points}), sorted({point.threads for point in points})
    n_panels = 2 + (len(threads) > 1)
    figure, axes = plt.subplots(1, n_panels, figsize=(4.0 * n_panels, 4.0))
    own = [point for point in points if point.threads == threads[-1]]
    for color, n_beads in zip(_shades(len(beads)), beads, strict=True):
        line = [point for point in own if point.beads == n_beads]
        _power(axes[0], [(point.replicas, 1e3 * point.seconds_per_step) for point in line], f"{n_beads} beads", color)
        if n_panels > 2:
            axes[2].plot([point.replicas for point in line], [point.speedup for point in line], "o-", color=color)
            axes[2].set(ylabel=f"speed with {threads[-1]} threads / with {threads[0]}", ylim=(0.0, None))
    _power(axes[1], [(point.pairs, 1e3 * point.seconds_per_step) for point in own], "all batches", "0.3")
    titles = (counted(threads[-1], "thread"), counted(threads[-1], "thread"), "gain by threads")
    for axis, label, title in zip(axes, ("replicas", "pairs within the cutoff", "replicas"), titles, strict=False):
        axis.set(xlabel=label, xscale="log", title=title)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
    for axis in axes[:2]:
        axis.set(ylabel="time of a step / ms", yscale="log")
        axis.legend(frameon=False, fontsize=8)
    figure.text(0.5, 0.01, caption, ha="center", fontsize=7, color="0.4")
    figure.tight_layout(rect=(0.0, 0.03, 1.0, 1.0))
    _save(figure, path)


def _power(axis: plt.Axes, pairs: Sequence[tuple[float, float]], label: str, color: str) -> None:
    """Draw points and the power law through them."""
    x, y = np.array(sorted(pairs)).T
    power = exponent(x, y) if np.unique(x).size > 1 else float("nan")
    axis.plot(x, y, "o", color=color, label=f"{label}: slope {power:.2f}")
    middle = np.exp(np.log(x).mean()), np.exp(np.log(y).mean())
    axis.plot(x, middle[1] * (x / middle[0]) ** power, "-", color=color, linewidth=0.8)


def exponent(counts: Sequence[float], values: Sequence[float]) -> float:
    """Exponent of the power law through points, by least squares of the logarithms."""
    return float(np.polyfit(np.log(counts), np.log(values), 1)[0])


def _shades(n_colors: int) -> list[str]:
    return [mpl.colors.to_hex(color) for color in plt.get_cmap("viridis")(np.linspace(0.0, 0.8, n_colors))]


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
