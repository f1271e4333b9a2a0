"""Block bootstrap of correlated frames, the source of every error bar of the analysis.

Successive frames are correlated, so contiguous blocks of the trajectories are drawn with replacement instead of
frames (H. R. Kuensch, Ann. Statist. 17, 1217 (1989), doi:10.1214/aos/1176347265). Blocks have to be longer than
the correlation time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flashmd.analysis._arrays import ArrayLike, FloatArray, IntArray, as_float
from flashmd.errors import message


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


def block_draws(n_blocks: int, blocks: Blocks) -> IntArray:
    """Return how often each block is drawn in each bootstrap sample, [n_resamples, n_blocks]."""
    generator = np.random.default_rng(blocks.seed)
    draws = generator.multinomial(n_blocks, np.full(n_blocks, 1.0 / n_blocks), size=blocks.n_resamples)
    return np.asarray(draws, dtype=np.int64)


@dataclass(frozen=True)
class Bootstrap:
    """Weighted frames and their bootstrap samples.

    Attributes:
        weights: [n_frames].
        block: [n_frames], block of each frame.
        blocks: resamples and seed.
        resampled: [n_resamples, n_frames], weights in each sample where they were estimated anew for it, else None.
    """

    weights: FloatArray
    block: IntArray
    blocks: Blocks
    resampled: FloatArray | None = None

    @classmethod
    def of(
        cls,
        n_frames: int,
        *,
        weights: ArrayLike | None,
        trajectory: ArrayLike | None,
        resampled: ArrayLike | None,
        blocks: Blocks,
    ) -> Bootstrap:
        """Check and join what describes the samples; missing weights are equal.

        Raises:
            ValueError: a shape is wrong, a weight negative, or there are fewer frames than blocks.
        """
        weight = np.ones(n_frames) if weights is None else _checked_weights(weights, n_frames)
        block = block_index(n_frames, blocks.n_blocks, trajectory=trajectory)
        drawn = None if resampled is None else as_float(resampled)
        if drawn is not None and (drawn.ndim != 2 or drawn.shape[1] != n_frames or drawn.shape[0] < 2):
            fix = "use `flashmd.analysis.resampled_weights`"
            raise ValueError(message("`resampled`", f"shape (n_resamples, {n_frames})", f"{drawn.shape}", fix))
        return cls(weight, block, blocks, drawn)

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return int(self.block.max()) + 1

    def histogram(self, index: IntArray, n_bins: int) -> tuple[FloatArray, FloatArray]:
        """Sum the weights of each bin.

        Args:
            index: [n_frames], bin of each frame.
            n_bins: number of bins.

        Returns:
            [n_bins], of all frames, and [n_resamples, n_bins], of each bootstrap sample.
        """
        total = np.bincount(index, weights=self.weights, minlength=n_bins).astype(np.float64)
        if self.resampled is not None:
            drawn = [np.bincount(index, weights=weights, minlength=n_bins) for weights in self.resampled]
            return total, np.array(drawn)
        per_block = np.zeros((self.n_blocks, n_bins))
        np.add.at(per_block, (self.block, index), self.weights)
        return total, block_draws(self.n_blocks, self.blocks) @ per_block

    def sums(self, columns: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Sum quantities with the weights of their frames.

        Args:
            columns: [n_frames, n_columns].

        Returns:
            [n_columns], over all frames, and [n_resamples, n_columns], over each bootstrap sample.
        """
        total = self.weights @ columns
        if self.resampled is not None:
            return total, self.resampled @ columns
        per_block = np.zeros((self.n_blocks, columns.shape[1]))
        np.add.at(per_block, self.block, self.weights[:, None] * columns)
        return total, block_draws(self.n_blocks, self.blocks) @ per_block

    def standard_error(self, estimates: FloatArray) -> FloatArray:
        """Return the standard error of what was estimated from each bootstrap sample, ignoring non-finite ones.

        Args:
            estimates: [n_resamples, ...].
        """
        finite = np.isfinite(estimates)
        number = np.maximum(finite.sum(axis=0), 1)
        mean = np.where(finite, estimates, 0.0).sum(axis=0) / number
        square = np.where(finite, estimates - np.where(finite, mean, 0.0), 0.0) ** 2
        # resampling B blocks underestimates the variance of a mean by the factor (B - 1) / B
        return np.asarray(np.sqrt(square.sum(axis=0) / number * self.n_blocks / (self.n_blocks - 1)))


def _checked_weights(values: ArrayLike, n_frames: int) -> FloatArray:
    weight = as_float(values)
    if weight.shape != (n_frames,) or not (weight >= 0).all() or not np.isfinite(weight).all() or not weight.any():
        got = f"shape {weight.shape}, smallest {weight.min(initial=np.inf):g}"
        expected = f"{n_frames} finite, non-negative values, not all zero"
        raise ValueError(message("`weights`", expected, got, "pass one for each frame"))
    return weight
