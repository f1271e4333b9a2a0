"""Look of the figures: one palette that colour-blind readers can tell apart, thin lines, no clutter.

Colours are those of M. Okabe and K. Ito, "Color universal design" (2008). Nothing here changes matplotlib's state:
figures are made within `styled`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1b2733"
MUTED = "#5f6c78"
RULE = "#d5dbe1"
TILE = "#f2f5f8"
UNSEEN = "#eceff2"
MODEL = "#0072B2"
REFERENCE = "#D55E00"
SURFACE_MAP = "YlGnBu_r"
TEMPERATURE_MAP = "plasma"

_RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.labelsize": 9.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "flashmd",
}


@contextmanager
def styled() -> Iterator[None]:
    """Use the look of the report inside the block."""
    with mpl.rc_context(_RC):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return a figure in inches that belongs to no window system."""
    return Figure(figsize=(width, height))


def panel_title(axes: Axes, text: str) -> None:
    """Set a title that starts at the left edge of the axes."""
    axes.set_title(text, color=INK)


def grid(axes: Axes) -> None:
    """Draw faint horizontal lines behind the data."""
    axes.grid(axis="y", color=RULE, linewidth=0.6)
