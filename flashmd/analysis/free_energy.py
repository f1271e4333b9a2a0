r"""Free-energy profiles and surfaces from samples, with block-bootstrap errors.

The free energy along coordinates :math:`x` is :math:`F(x) = -k_B T \ln p(x)`, with the density :math:`p` estimated by
a histogram, optionally weighted (`flashmd.analysis.reweight`). Errors come from a block bootstrap
(`flashmd.analysis.bootstrap`). Bins with fewer samples than a minimum are masked, because the logarithm of a rare count
is neither unbiased nor normally distributed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flashmd.analysis._arrays import ArrayLike, FloatArray, IntArray, as_float
from flashmd.analysis.bootstrap import DEFAULT_BLOCKS, Blocks, Bootstrap
from flashmd.errors import message
from flashmd.units import BOLTZMANN


@dataclass(frozen=True)
class FreeEnergy:
    """A free-energy profile or surface; masked bins are NaN.

    Attributes:
        edges: bin edges of each coordinate, [n_bins + 1] each.
        values: [n_bins, ...], kJ/mol, the lowest bin at 0.
        error: [n_bins, ...], kJ/mol, standard error of ``-kT ln p`` of the normalised density. It does not depend on
            the choice of zero, so it does not vanish in the lowest bin.
        counts: [n_bins, ...], unweighted samples.
        temperature: K.
    """

    edges: tuple[FloatArray, ...]
    values: FloatArray
    error: FloatArray
    counts: IntArray
    temperature: float

    @property
    def centers(self) -> tuple[FloatArray, ...]:
        """Bin centres of each coordinate, [n_bins] each."""
        return tuple((edge[1:] + edge[:-1]) / 2 for edge in self.edges)


def free_energy(
    coordinates: Sequence[ArrayLike],
    edges: Sequence[ArrayLike],
    *,
    temperature: float,
    weights: ArrayLike | None = None,
    trajectory: ArrayLike | None = None,
    resampled: ArrayLike | None = None,
    blocks: Blocks = DEFAULT_BLOCKS,
) -> FreeEnergy:
    """Estimate the free energy along one or more coordinates.

    Args:
        coordinates: one [n_frames] array for each coordinate: one for a profile, two for a surface. Samples outside
            the edges belong to the ensemble (the density is normalised with them) but to no bin.
        edges: bin edges of each coordinate, ascending.
        temperature: K.
        weights: [n_frames], relative weights of the frames, for example from MBAR.
        trajectory: [n_frames], the trajectory of each frame; no block spans two of them. One trajectory by default.
        resampled: [n_resamples, n_frames], weights in each bootstrap sample (`resampled_weights`). Without them the
            weights are held fixed, and the errors do not include that of the weights.
        blocks: number of blocks, resamples, seed and smallest count.

    Raises:
        ValueError: lengths differ, fewer frames than blocks, or every bin is masked.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=20_000)
        >>> profile = free_energy([x], [np.linspace(-2.0, 2.0, 9)], temperature=300.0)
        >>> bool(np.nanargmin(profile.values) in (3, 4))
        True
    """
    samples = [_checked(c, "coordinates") for c in coordinates]
    grid = tuple(_checked_edges(e) for e in edges)
    n_frames = samples[0].shape[0]
    if len(samples) != len(grid) or any(s.shape[0] != n_frames for s in samples):
        got = f"{[s.shape[0] for s in samples]} frames and {len(grid)} sets of edges"
        raise ValueError(message("`coordinates`", "equal lengths and one set of edges each", got, "pass them in pairs"))
    bootstrap = Bootstrap.of(n_frames, weights=weights, trajectory=trajectory, resampled=resampled, blocks=blocks)
    shape = tuple(edge.size - 1 for edge in grid)
    n_bins = int(np.prod(shape))
    flat = _flat_bins(samples, grid, shape)
    total, drawn = bootstrap.histogram(flat, n_bins + 1)
    counts = np.bincount(flat, minlength=n_bins + 1)[:n_bins]

    volume = _bin_volumes(grid).ravel()
    kt = BOLTZMANN * temperature
    values = -kt * _log_density(total[None], volume)[0]
    error = kt * bootstrap.standard_error(_log_density(drawn, volume))
    empty = counts < blocks.min_count
    if empty.all():
        fix = "sample longer, widen the bins or lower `min_count`"
        raise ValueError(message("histogram", f"a bin of at least {blocks.min_count} samples", f"{counts.max()}", fix))
    values[empty], error[empty] = np.nan, np.nan
    values = values - np.nanmin(values)
    return FreeEnergy(
        grid, values.reshape(shape), error.reshape(shape), counts.reshape(shape).astype(np.int64), temperature
    )


def _log_density(sums: FloatArray, volume: FloatArray) -> FloatArray:
    """Return ln p of each bin, -inf where it is empty; the last column holds what lies outside the edges."""
    total = sums.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(sums[:, :-1] / (total * volume)))


def _flat_bins(samples: list[FloatArray], grid: tuple[FloatArray, ...], shape: tuple[int, ...]) -> IntArray:
    index = np.zeros(samples[0].shape[0], dtype=np.int64)
    inside = np.ones(samples[0].shape[0], dtype=bool)
    for sample, edge, size in zip(samples, grid, shape, strict=True):
        bins = np.searchsorted(edge, sample, side="right") - 1
        bins[sample == edge[-1]] = size - 1  # the last bin is closed, as in numpy.histogram
        inside &= (bins >= 0) & (bins < size)
        index = index * size + np.clip(bins, 0, size - 1)
    return np.asarray(np.where(inside, index, int(np.prod(shape))))


def _bin_volumes(grid: tuple[FloatArray, ...]) -> FloatArray:
    volume = np.ones(())
    for edge in grid:
        volume = np.multiply.outer(volume, np.diff(edge))
    return volume


def _checked(values: ArrayLike, name: str) -> FloatArray:
    array = as_float(values)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        got = f"shape {array.shape}" + ("" if np.isfinite(array).all() else " with non-finite values")
        raise ValueError(
            message(f"`{name}`", "finite arrays of shape (n_frames,)", got, "pass one value for each frame")
        )
    return array


def _checked_edges(values: ArrayLike) -> FloatArray:
    edge = as_float(values)
    if edge.ndim != 1 or edge.size < 2 or not (np.diff(edge) > 0).all():
        fix = "use for example `numpy.linspace(0.0, 1.0, 41)`"
        raise ValueError(message("`edges`", "at least two ascending bin edges", f"{edge.shape}", fix))
    return edge
