"""The panels of the figures: each draws one thing on given axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from flashmd.analysis import FreeEnergy, Summary
from flashmd.report import style
from flashmd.report.results import Rung
from flashmd.report.run import Run
from flashmd.report.types import FloatArray

Q_LABEL = "fraction of native contacts Q"
RMSD_LABEL = "C\N{GREEK SMALL LETTER ALPHA} RMSD / nm"
ENERGY_LABEL = "free energy / kJ mol$^{-1}$"
_TOP_ENERGY = 25.0  # kJ/mol, end of the colour scale; higher bins hold few frames
_MOST_COLUMNS = 400
_SIGMAS = 1.96


def scale_top(energy: FreeEnergy) -> float:
    """Return where the colour scale of a surface ends, kJ/mol."""
    return min(_TOP_ENERGY, float(np.ceil(np.nanmax(energy.values) + 0.5)))


def surface(figure: Figure, axes: Axes, energy: FreeEnergy, *, top: float) -> None:
    """Draw a free-energy surface over Q (across) and RMSD (up), coloured from 0 to `top`."""
    q, distance = energy.edges
    values = np.ma.masked_invalid(energy.values.T)
    axes.set_facecolor(style.UNSEEN)
    image = axes.pcolormesh(q, distance, values, cmap=style.SURFACE_MAP, vmin=0.0, vmax=top, rasterized=True)
    seen = np.flatnonzero(np.isfinite(energy.values).any(axis=0))
    axes.set_ylim(0.0, float(distance[min(seen[-1] + 2, distance.size - 1)]))
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel(Q_LABEL)
    axes.set_ylabel(RMSD_LABEL)
    bar = figure.colorbar(image, ax=axes, pad=0.03, aspect=28)
    bar.set_label(ENERGY_LABEL)
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(6)
    bar.update_ticks()


def profiles(axes: Axes, energies: Sequence[tuple[FreeEnergy, str, str]], *, label: str) -> None:
    """Draw profiles with 95 % bands; each comes with its legend text and colour."""
    ends = []
    for energy, text, colour in energies:
        center = energy.centers[0]
        band = _SIGMAS * energy.error
        axes.fill_between(center, energy.values - band, energy.values + band, color=colour, alpha=0.22, linewidth=0)
        axes.plot(center, energy.values, color=colour, label=text, marker="o", markersize=2.6)
        ends.append(energy.edges[0][np.flatnonzero(np.isfinite(energy.values))[-1] + 1])
    axes.set_xlim(0.0, max(ends))
    highest = max(float(np.nanmax(energy.values + _SIGMAS * energy.error)) for energy, _, _ in energies)
    lowest = min(float(np.nanmin(energy.values - _SIGMAS * energy.error)) for energy, _, _ in energies)
    top = min(highest, 1.4 * _TOP_ENERGY)
    axes.set_ylim(max(lowest, -0.2 * top) - 0.04 * top, 1.25 * top)
    axes.set_xlabel(label)
    axes.set_ylabel(ENERGY_LABEL)
    style.grid(axes)
    axes.legend(loc="upper left", ncols=len(energies), columnspacing=1.2, handlelength=1.4, borderaxespad=0.2)


def ladder_walk(figure: Figure, axes: Axes, run: Run) -> None:
    """Draw the temperature that each replica holds over time, one row for each replica."""
    stride = int(np.ceil(run.step.size / _MOST_COLUMNS))
    held = np.array(run.temperatures)[run.rung[::stride]].T
    end = float(run.time[-1])
    norm = Normalize(run.temperatures[0], run.temperatures[-1])
    image = axes.imshow(
        held,
        aspect="auto",
        interpolation="nearest",
        cmap=style.TEMPERATURE_MAP,
        norm=norm,
        extent=(0.0, end, run.config.n_replicas - 0.5, -0.5),
    )
    axes.set_xlabel("time / ns")
    axes.set_ylabel("replica")
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    bar = figure.colorbar(image, ax=axes, pad=0.03, aspect=28)
    bar.set_label("temperature held / K")
    bar.outline.set_visible(False)


def acceptance(axes: Axes, temperatures: Sequence[float], accepted: FloatArray) -> None:
    """Draw the acceptance of each pair as a bar from the lower to the upper temperature."""
    edges = np.array(temperatures)
    height = np.nan_to_num(accepted)
    gap = 0.08 * np.diff(edges)
    axes.bar(edges[:-1] + gap, height, width=np.diff(edges) - 2 * gap, align="edge", color=style.MODEL, alpha=0.85)
    for left, right, value in zip(edges[:-1], edges[1:], accepted, strict=True):
        text = f"{100 * value:.0f}" if np.isfinite(value) else "none"
        axes.annotate(
            text,
            ((left + right) / 2, np.nan_to_num(value)),
            (0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_ylim(0.0, min(1.12, max(0.2, 1.25 * float(height.max()))))
    axes.set_xlim(edges[0], edges[-1])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("temperature / K")
    axes.set_ylabel("accepted exchanges")
    style.grid(axes)


def melting(axes: Axes, rungs: Sequence[Rung], model: Summary, reference: Summary | None) -> None:
    """Draw the folded population of every temperature with 95 % intervals."""
    kelvin = [rung.temperature for rung in rungs]
    share = [rung.folded.value for rung in rungs]
    error = [_SIGMAS * rung.folded.error for rung in rungs]
    axes.errorbar(kelvin, share, error, color=style.MODEL, marker="o", markersize=4, capsize=2.5, label=model.label)
    if reference is not None:
        axes.errorbar(
            [reference.temperature],
            [reference.folded.value],
            [_SIGMAS * reference.folded.error],
            color=style.REFERENCE,
            marker="s",
            markersize=5,
            capsize=2.5,
            linestyle="none",
            label=reference.label,
        )
    axes.set_ylim(0.0, 1.18)
    axes.set_yticks(np.linspace(0.0, 1.0, 6))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("temperature / K")
    axes.set_ylabel("folded population")
    style.grid(axes)
    axes.legend(loc="upper left", ncols=2, columnspacing=1.2, handlelength=1.4, borderaxespad=0.2)


def note(axes: Axes, text: str) -> None:
    """Say in place of a panel why there is none."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=style.MUTED, transform=axes.transAxes)


def tile(axes: Axes, value: str, caption: str) -> None:
    """Draw a number with what it means below it."""
    axes.set_axis_off()
    box = FancyBboxPatch(
        (0.0, 0.0),
        1.0,
        1.0,
        boxstyle="round,pad=0,rounding_size=0.06",
        transform=axes.transAxes,
        mutation_aspect=2.2,
        facecolor=style.TILE,
        edgecolor="none",
        clip_on=False,
    )
    axes.add_patch(box)
    axes.text(0.5, 0.60, value, ha="center", va="center", fontsize=14, fontweight="bold", color=style.INK)
    axes.text(0.5, 0.22, caption, ha="center", va="center", fontsize=8, color=style.MUTED)
