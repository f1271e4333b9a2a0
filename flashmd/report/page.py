"""The report as one HTML file: the figure embedded, tables of every number in it, and where they come from.

The page loads nothing: no scripts, no fonts, no links to other files.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Sequence

import numpy as np

import flashmd
from flashmd.analysis import Difference, Estimate, Summary
from flashmd.report.figure import duration, percent, subtitle, tiles
from flashmd.report.results import Results

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #1b2733; background: #fff;
  max-width: 1180px; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.9rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
.sub { color: #5f6c78; margin: .2rem 0 1.4rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin-bottom: 1.6rem; }
.tile { flex: 1 1 170px; background: #f2f5f8; border-radius: 10px; padding: .8rem 1rem; text-align: center; }
.tile b { display: block; font-size: 1.35rem; } .tile span { color: #5f6c78; font-size: .85rem; }
img { width: 100%; height: auto; border: 1px solid #d5dbe1; border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; border-bottom: 2px solid #5f6c78; padding: .35rem .7rem; }
td { text-align: right; border-bottom: 1px solid #d5dbe1; padding: .35rem .7rem; }
th:first-child, td:first-child { text-align: left; }
tr.chosen td { background: #e8f2f9; font-weight: 600; }
.note { color: #5f6c78; font-size: .9rem; }
pre { background: #f2f5f8; border-radius: 10px; padding: 1rem; overflow-x: auto; font-size: .85rem; }
summary { cursor: pointer; font-weight: 600; }
"""


def page(results: Results, picture: bytes) -> str:
    """Return the report as HTML.

    Args:
        results: what to show.
        picture: PNG data of the figure.
    """
    title = html.escape(results.model.label)
    encoded = base64.b64encode(picture).decode("ascii")
    boxes = "".join(
        f'<div class="tile"><b>{html.escape(value)}</b><span>{html.escape(caption)}</span></div>'
        for value, caption in tiles(results)
    )
    body = [
        f"<h1>{title}</h1>",
        f'<p class="sub">{html.escape(subtitle(results.run))}</p>',
        f'<div class="tiles">{boxes}</div>',
        f'<img alt="Free energies, replica exchange and stability" src="data:image/png;base64,{encoded}">',
        *_ensembles(results),
        *_ladder(results),
        *_pairs(results),
        *_provenance(results),
    ]
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body>\n</html>\n"
    )


def number(value: float, digits: int = 2) -> str:
    """Return a number for a table, with words for what is not finite.

    >>> number(1.234), number(float("nan")), number(float("-inf"))
    ('1.23', '–', '−∞')
    """
    if math.isnan(value):
        return "\N{EN DASH}"
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else "\N{MINUS SIGN}\N{INFINITY}"
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def with_error(estimate: Estimate, digits: int = 2) -> str:
    """Return a value with its standard error."""
    return f"{number(estimate.value, digits)} \N{PLUS-MINUS SIGN} {number(estimate.error, digits)}"


def summary_rows(summaries: Sequence[Summary]) -> list[list[str]]:
    """Return a table of ensembles: one column for each, after the names of the quantities."""
    rows: list[tuple[str, list[str]]] = [
        ("temperature / K", [number(s.temperature, 1) for s in summaries]),
        ("frames", [f"{s.n_frames:,}" for s in summaries]),
        ("folded population", [percent(s.folded) for s in summaries]),
        ("unfolded population", [percent(s.unfolded) for s in summaries]),
        ("folding free energy / kJ/mol", [with_error(s.folding_free_energy) for s in summaries]),
        ("mean fraction of native contacts", [with_error(s.mean_q, 3) for s in summaries]),
        ("smallest RMSD / nm", [number(s.minimum_rmsd, 3) for s in summaries]),
    ]
    return [[name, *cells] for name, cells in rows]


def difference_rows(differences: Sequence[tuple[str, Difference]]) -> list[list[str]]:
    """Return a table of differences between two profiles along each coordinate."""
    return [[name, number(d.rms), str(d.n_bins), number(d.overlap, 3)] for name, d in differences]


def _table(head: Iterable[str], rows: Iterable[Sequence[str]], *, chosen: int | None = None) -> str:
    lines = ["<table><thead><tr>", *(f"<th>{html.escape(cell)}</th>" for cell in head), "</tr></thead><tbody>"]
    for index, row in enumerate(rows):
        mark = ' class="chosen"' if index == chosen else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    return "".join([*lines, "</tbody></table>"])


def _ensembles(results: Results) -> list[str]:
    shown = [results.model] + ([results.reference] if results.reference is not None else [])
    basins, blocks = results.basins, results.blocks
    note = (
        f"Folded: C-alpha RMSD below {basins.folded_rmsd:g} nm from {results.native.name}; unfolded: above "
        f"{basins.unfolded_rmsd:g} nm. Errors are standard errors from a bootstrap of {blocks.n_blocks} blocks; bands "
        f"in the figure are 95 % intervals. Bins with fewer than {blocks.min_count} frames are not shown. The first "
        f"{100 * results.discard:g} % of the run are left out as equilibration, except for the smallest RMSD of all."
    )
    parts = ["<h2>Stability</h2>", _table(["", *(s.label for s in shown)], summary_rows(shown))]
    if results.comparison is not None:
        rows = difference_rows([("Q", results.comparison.q), ("RMSD", results.comparison.rmsd)])
        head = ["profile along", "rms difference / kJ/mol", "common bins", "overlap of the densities"]
        parts += ["<h2>Difference from the reference</h2>", _table(head, rows)]
    return [*parts, f'<p class="note">{html.escape(note)}</p>']


def _ladder(results: Results) -> list[str]:
    head = [
        "temperature / K", "frames", "folded", "unfolded", "smallest RMSD / nm",
        "mean kinetic temperature / K", "mean potential energy / kJ/mol",
    ]  # fmt: skip
    rows = [
        [
            number(r.temperature, 1),
            f"{r.n_frames:,}",
            percent(r.folded),
            percent(r.unfolded),
            number(r.minimum_rmsd, 3),
            number(r.kinetic, 1),
            number(r.energy, 1),
        ]
        for r in results.rungs
    ]
    kelvin = [r.temperature for r in results.rungs]
    return ["<h2>Temperatures</h2>", _table(head, rows, chosen=kelvin.index(results.model.temperature))]


def _pairs(results: Results) -> list[str]:
    run, trips = results.run, results.round_trips
    if len(run.temperatures) == 1:
        return []
    rows = [
        [f"{low:.1f} \N{LEFT RIGHT ARROW} {high:.1f}", f"{asked:,}", f"{done:,}", number(100 * rate, 1)]
        for low, high, asked, done, rate in zip(
            run.temperatures[:-1], run.temperatures[1:], run.proposed, run.accepted, run.acceptance, strict=True
        )
    ]
    never = int(np.sum(trips == 0))
    note = (
        f"{int(trips.sum()):,} round trips from the lowest temperature to the highest and back; {never} of "
        f"{trips.size} replicas made none. The log resolves {duration(_log_interval(results))}; "
        "what happens in between is not seen."
    )
    table = _table(["pair / K", "proposed", "accepted", "accepted / %"], rows)
    return ["<h2>Exchanges</h2>", table, f'<p class="note">{html.escape(note)}</p>']


def _log_interval(results: Results) -> float:
    config = results.run.config
    return config.log_interval * config.time_step * 1e-3


def _provenance(results: Results) -> list[str]:
    run = results.run
    facts = [*run.notes, f"report by flashmd {flashmd.__version__}", f"native structure {results.native.name}"]
    facts.append(f"log up to step {run.step[-1]:,} of {run.config.n_steps:,}")
    if results.source is not None:
        facts.append(f"reference {results.source[0]}, sha256 {results.source[1]}")
    listed = "".join(f"<li>{html.escape(fact)}</li>" for fact in facts)
    config = html.escape(run.config.to_yaml())
    return [
        f"<h2>Provenance</h2><ul>{listed}</ul>",
        f"<details><summary>Resolved configuration</summary><pre>{config}</pre></details>",
    ]
