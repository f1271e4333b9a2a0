r"""Free-energy profiles and surfaces from samples, with block-bootstrap errors.

The free energy along coordinates :math:`x` is :math:`F(x) = -k_B T \ln p(x)`, with the density :math:`p` estimated by
a histogram, optionally weighted (`flashmd.analysis.reweight`). Successive frames are correlated, so the errors come
from resampling contiguous blocks of the trajectory with replacement (H. R. Kuensch, Ann. Statist. 17, 1217 (1989),
doi:10.1214/aos/1176347265); blocks have to be longer than the correlation time. Bins with fewer samples than a minimum
are masked, because the logarithm of a rare count is neither unbiased nor normally distributed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flashmd.analysis._arrays import ArrayLike, FloatArray, IntArray, as_float
from flashmd.errors import message
from flashmd.units import BOLTZMANN


@dataclass(frozen=True)
class Blocks:
    """How errors are estimated.

    Attributes:
        n_blocks: contiguous blocks into which all trajectories together are cut; each trajectory gets at least one.
        n_resamples: bootstrap samples.
        seed: seed of the resampling.
        min_count: samples (unweighted) a bin must hold, otherwise it is masked.
    """

    n_blocks: int = 20
    n_resamples: int = 200
    seed: int = 0
    min_count: int = 10


DEFAULT_BLOCKS = Blocks()


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
    weight = np.ones(n_frames) if weights is None else _checked_weights(weights, n_frames)
    block = block_index(n_frames, blocks.n_blocks, trajectory=trajectory)

    shape = tuple(edge.size - 1 for edge in grid)
    n_bins = int(np.prod(shape))
    flat = _flat_bins(samples, grid, shape)
    n_blocks = int(block.max()) + 1
    histogram = np.zeros((n_blocks, n_bins + 1))
    np.add.at(histogram, (block, flat), weight)
    counts = np.bincount(flat, minlength=n_bins + 1)[:n_bins]

    volume = _bin_volumes(grid).ravel()
    kt = BOLTZMANN * temperature
    values = -kt * _log_density(histogram.sum(axis=0)[None], volume)[0]
    error = kt * _spread(_log_density(resample(histogram, blocks), volume), n_blocks)
    empty = counts < blocks.min_count
    if empty.all():
        fix = "sample longer, widen the bins or lower `min_count`"
        raise ValueError(message("histogram", f"a bin of at least {blocks.min_count} samples", f"{counts.max()}", fix))
    values[empty], error[empty] = np.nan, np.nan
    values = values - np.nanmin(values)
    return FreeEnergy(
        grid, values.reshape(shape), error.reshape(shape), counts.reshape(shape).astype(np.int64), temperature
    )


def block_index(n_frames: int, n_blocks: int, *, trajectory: ArrayLike | None = None) -> IntArray:
    """Return the block of each frame: contiguous and of nearly equal length.

    Args:
        n_frames: number of frames.
        n_blocks: blocks of all trajectories together. Each trajectory gets its share, and at least one.
        trajectory: [n_frames], identifier of the trajectory of each frame; no block spans two.

    Raises:
        ValueError: fewer than two blocks, or fewer frames than blocks.
    """
    if n_blocks < 2 or n_frames < n_blocks:
        got = f"{n_frames} frames and {n_blocks} blocks"
        raise ValueError(message("block bootstrap", "two blocks or more, and a frame for each", got, "sample longer"))
    names = np.zeros(n_frames) if trajectory is None else as_float(trajectory)
    if names.shape != (n_frames,):
        fix = "name the trajectory of each frame"
        raise ValueError(message("`trajectory`", f"shape ({n_frames},)", f"{names.shape}", fix))
    block = np.empty(n_frames, dtype=np.int64)
    first = 0
    for name in np.unique(names):
        member = np.flatnonzero(names == name)
        share = max(1, round(n_blocks * member.size / n_frames))
        block[member] = first + np.arange(member.size) * share // member.size
        first += share
    return block


def resample(per_block: FloatArray, blocks: Blocks) -> FloatArray:
    """Sum rows of `per_block` drawn with replacement.

    Args:
        per_block: [n_blocks, ...], sums over each block.
        blocks: resamples and seed.

    Returns:
        [n_resamples, ...], sums over as many drawn blocks as there are.
    """
    n_blocks = per_block.shape[0]
    generator = np.random.default_rng(blocks.seed)
    draws = generator.multinomial(n_blocks, np.full(n_blocks, 1.0 / n_blocks), size=blocks.n_resamples)
    return np.asarray(np.tensordot(draws.astype(np.float64), per_block, axes=1))


def _spread(log_density: FloatArray, n_blocks: int) -> FloatArray:
    """Return the standard deviation over resamples, ignoring those in which a bin is empty."""
    finite = np.isfinite(log_density)
    number = np.maximum(finite.sum(axis=0), 1)
    mean = np.where(finite, log_density, 0.0).sum(axis=0) / number
    square = np.where(finite, log_density - mean, 0.0) ** 2
    # resampling B blocks underestimates the variance of a mean by the factor (B - 1) / B
    return np.asarray(np.sqrt(square.sum(axis=0) / number * n_blocks / (n_blocks - 1)))


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


def _checked_weights(values: ArrayLike, n_frames: int) -> FloatArray:
    weight = _checked(values, "weights")
    if weight.shape[0] != n_frames or (weight < 0).any() or not weight.any():
        got = f"{weight.shape[0]} values, smallest {weight.min():g}"
        raise ValueError(
            message("`weights`", f"{n_frames} non-negative values, not all zero", got, "pass one for each frame")
        )
    return weight
