"""The figures: the report of a run on one page, and a model beside its all-atom reference."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.transforms import Bbox

from flashmd.analysis import Comparison, Estimate
from flashmd.report import panels, style
from flashmd.report.results import Results
from flashmd.report.run import Run

DPI = 160
_WIDTH, _HEIGHT = 13.0, 8.6
PANELS = Bbox.from_bounds(0.0, 0.0, _WIDTH, 0.82 * _HEIGHT)
"""Part of the report figure below its header, inches; the page has a header of its own."""


def report_figure(results: Results) -> Figure:
    """Return the report as one figure; to be called and saved within `style.styled`."""
    run, model, reference = results.run, results.model, results.reference
    figure = style.new_figure(_WIDTH, _HEIGHT)
    _header(figure, results)
    cells = GridSpec(
        2, 3, figure=figure, left=0.055, right=0.975, top=0.775, bottom=0.085, wspace=0.28, hspace=0.42,
        width_ratios=(1.15, 1.0, 1.0),
    )  # fmt: skip
    axes = [figure.add_subplot(cells[row, column]) for row in range(2) for column in range(3)]
    panels.surface(figure, axes[0], model.surface, top=panels.scale_top(model.surface))
    style.panel_title(axes[0], f"Free-energy surface, {model.temperature:.0f} K")
    lines = [(model, style.MODEL)] + ([(reference, style.REFERENCE)] if reference is not None else [])
    panels.profiles(axes[1], [(s.rmsd_profile, s.label, c) for s, c in lines], label=panels.RMSD_LABEL)
    style.panel_title(axes[1], f"Profile along the RMSD, {model.temperature:.0f} K")
    panels.profiles(axes[2], [(s.q_profile, s.label, c) for s, c in lines], label=panels.Q_LABEL)
    style.panel_title(axes[2], f"Profile along Q, {model.temperature:.0f} K")
    _exchange_panels(figure, axes[3], axes[4], run)
    panels.melting(axes[5], results.rungs, model, reference)
    style.panel_title(axes[5], f"Stability (folded: RMSD < {results.basins.folded_rmsd:g} nm)")
    footer = (
        f"Bands and bars are 95 % intervals from a block bootstrap; bins with fewer than {results.blocks.min_count} "
        f"frames are left out. The first {100 * results.discard:g} % of the run are discarded."
    )
    figure.text(0.98, 0.012, footer, fontsize=7.5, color=style.MUTED, ha="right", va="bottom")
    return figure


def comparison_figure(comparison: Comparison) -> Figure:
    """Return a model beside its reference; to be called and saved within `style.styled`."""
    model, reference = comparison.model, comparison.reference
    figure = style.new_figure(_WIDTH, _HEIGHT)
    cells = GridSpec(2, 2, figure=figure, left=0.05, right=0.985, top=0.945, bottom=0.075, wspace=0.16, hspace=0.32)
    axes = [figure.add_subplot(cells[row, column]) for row in range(2) for column in range(2)]
    top = max(panels.scale_top(each.surface) for each in (model, reference))
    for place, each in zip(axes[:2], (model, reference), strict=True):
        panels.surface(figure, place, each.surface, top=top)
        style.panel_title(place, f"{each.label}, {each.temperature:.0f} K")
    highest = max(place.get_ylim()[1] for place in axes[:2])
    for place in axes[:2]:
        place.set_ylim(0.0, highest)
    lines = ((model, style.MODEL), (reference, style.REFERENCE))
    panels.profiles(axes[2], [(s.rmsd_profile, s.label, c) for s, c in lines], label=panels.RMSD_LABEL)
    style.panel_title(axes[2], "Profile along the RMSD (95 % bands)")
    panels.profiles(axes[3], [(s.q_profile, s.label, c) for s, c in lines], label=panels.Q_LABEL)
    style.panel_title(axes[3], "Profile along Q (95 % bands)")
    return figure


def tiles(results: Results) -> list[tuple[str, str]]:
    """Return the headline numbers of a report with their captions."""
    kelvin = f"{results.model.temperature:.0f} K"
    reached, start = results.minimum_rmsd, "smallest RMSD, whole run"
    if results.unfolded_start_rmsd is not None:
        reached, start = results.unfolded_start_rmsd, "smallest RMSD from unfolded starts"
    content = [
        (f"{reached:.3f} nm", start),
        (percent(results.model.folded), f"folded at {kelvin}"),
    ]
    if len(results.run.temperatures) > 1:
        content.append((f"{results.round_trips.sum():,}", "round trips on the ladder"))
    content.append((duration(results.run.total_time), "simulated, all replicas"))
    if results.run.nanoseconds_per_day is not None:
        content.append((f"{duration(results.run.nanoseconds_per_day)}/day", "speed, all replicas"))
    return content


def percent(estimate: Estimate) -> str:
    """Return a population with its standard error in percent."""
    return f"{100 * estimate.value:.1f} \N{PLUS-MINUS SIGN} {100 * estimate.error:.1f} %"


def duration(nanoseconds: float) -> str:
    """Return a time with a unit that keeps the number short.

    >>> duration(71_200.0), duration(12.34)
    ('71.2 µs', '12.3 ns')
    """
    if nanoseconds >= 1e6:
        return f"{nanoseconds / 1e6:.3g} ms"
    return f"{nanoseconds / 1e3:.3g} µs" if nanoseconds >= 1e3 else f"{nanoseconds:.3g} ns"


def subtitle(run: Run) -> str:
    """Return one line on the ladder."""
    kelvin, walkers = run.temperatures, run.config.walkers
    if len(kelvin) == 1:
        kind = f"Langevin dynamics at {kelvin[0]:.0f} K, {walkers} replica{'s' if walkers > 1 else ''}"
    else:
        side = f", {walkers} walkers each" if walkers > 1 else ""
        kind = f"Replica exchange, {len(kelvin)} temperatures from {kelvin[0]:.0f} to {kelvin[-1]:.0f} K{side}"
    return f"{kind}, {duration(float(run.time[-1]))} per replica"


def _exchange_panels(figure: Figure, walk: Axes, accepted: Axes, run: Run) -> None:
    style.panel_title(walk, "Walk of the replicas on the ladder")
    style.panel_title(accepted, "Exchange between neighbours")
    if len(run.temperatures) == 1:
        panels.note(walk, "one temperature, no ladder")
        panels.note(accepted, "one temperature, no exchange")
        return
    panels.ladder_walk(figure, walk, run)
    panels.acceptance(accepted, run.temperatures, run.acceptance)


def _header(figure: Figure, results: Results) -> None:
    figure.text(0.02, 0.965, results.model.label, fontsize=18, fontweight="bold", va="center")
    figure.text(0.02, 0.93, subtitle(results.run), fontsize=9.5, color=style.MUTED, va="center")
    content = tiles(results)
    left, right, gap = 0.02, 0.98, 0.012
    width = (right - left - gap * (len(content) - 1)) / len(content)
    for index, (value, caption) in enumerate(content):
        place = figure.add_axes((left + index * (width + gap), 0.835, width, 0.07))
        panels.tile(place, value, caption)
