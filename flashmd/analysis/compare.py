"""Compare the ensemble of a model with a reference at one temperature, along native contacts and RMSD.

The comparison answers what a reader wants to know of a coarse-grained model of a protein: does it find the native
structure, how stable is the folded basin, and how far are its free-energy profiles from those of the all-atom data.
Populations and profiles of both sides come with block-bootstrap errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from flashmd.analysis._arrays import ArrayLike, FloatArray, as_frames
from flashmd.analysis.bootstrap import DEFAULT_BLOCKS, Blocks, Bootstrap
from flashmd.analysis.free_energy import FreeEnergy, free_energy
from flashmd.analysis.native_contacts import fraction_native, native_contacts
from flashmd.analysis.rmsd import rmsd
from flashmd.errors import message
from flashmd.units import BOLTZMANN

_Q_BINS = 25
_RMSD_WIDTH = 0.025  # nm
_MAX_RMSD_BINS = 60
_SAME_TEMPERATURE = 1.0  # K


@dataclass(frozen=True)
class Ensemble:
    """Frames of one ensemble at one temperature.

    Attributes:
        label: name in tables and legends.
        positions: [n_frames, n_beads, 3], nm.
        temperature: K.
        weights: [n_frames], or None for equal ones.
        trajectory: [n_frames], the trajectory of each frame, or None for one.
        resampled: [n_resamples, n_frames], weights in each bootstrap sample, or None to hold `weights` fixed.
    """

    label: str
    positions: ArrayLike
    temperature: float
    weights: ArrayLike | None = None
    trajectory: ArrayLike | None = None
    resampled: ArrayLike | None = None


@dataclass(frozen=True)
class Basins:
    """When a frame counts as folded or unfolded; what is neither is an intermediate.

    Attributes:
        folded_rmsd: nm, folded below.
        unfolded_rmsd: nm, unfolded above.
    """

    folded_rmsd: float = 0.2
    unfolded_rmsd: float = 0.4


DEFAULT_BASINS = Basins()


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Summary:
    """What is known of one ensemble.

    Attributes:
        label: name of the ensemble.
        temperature: K.
        n_frames: number of frames.
        rmsd: [n_frames], nm, from the native structure.
        q: [n_frames], fraction of native contacts.
        rmsd_profile: free energy along the RMSD.
        q_profile: free energy along Q.
        surface: free energy along Q (first axis) and RMSD.
        folded: population below `Basins.folded_rmsd`.
        unfolded: population above `Basins.unfolded_rmsd`.
        folding_free_energy: kJ/mol, ``-kT ln[folded / (1 - folded)]``, negative where folding is favourable;
            infinite, with error NaN, where every frame or none is folded.
        mean_q: mean fraction of native contacts.
        minimum_rmsd: nm, smallest of all frames.
    """

    label: str
    temperature: float
    n_frames: int
    rmsd: FloatArray
    q: FloatArray
    rmsd_profile: FreeEnergy
    q_profile: FreeEnergy
    surface: FreeEnergy
    folded: Estimate
    unfolded: Estimate
    folding_free_energy: Estimate
    mean_q: Estimate
    minimum_rmsd: float


@dataclass(frozen=True)
class Difference:
    """How far two profiles along one coordinate are apart.

    Attributes:
        rms: kJ/mol, root-mean-square difference over the bins that both sampled, after the best vertical shift.
        overlap: common area of the two normalised densities, 1 for equal ones and 0 for disjoint ones.
        n_bins: number of bins that both sampled; `rms` is NaN for none.
    """

    rms: float
    overlap: float
    n_bins: int


@dataclass(frozen=True)
class Comparison:
    """Two ensembles on the same bins, and their differences along Q and RMSD."""

    model: Summary
    reference: Summary
    basins: Basins
    q: Difference
    rmsd: Difference


@dataclass(frozen=True)
class _Coordinates:
    rmsd: FloatArray
    q: FloatArray


def summarize(
    ensemble: Ensemble, native: ArrayLike, *, basins: Basins = DEFAULT_BASINS, blocks: Blocks = DEFAULT_BLOCKS
) -> Summary:
    """Analyse one ensemble along the fraction of native contacts and the RMSD.

    Args:
        ensemble: frames at one temperature.
        native: [n_beads, 3], nm, the native structure, bead by bead as in the frames.
        basins: definition of folded and unfolded.
        blocks: how errors are estimated.

    Raises:
        ValueError: numbers of beads differ, too few frames, or a non-finite coordinate.

    Example:
        >>> import numpy as np
        >>> native = np.cumsum(np.random.default_rng(0).normal(0.0, 0.2, (10, 3)), axis=0)
        >>> frames = native + np.random.default_rng(1).normal(0.0, 0.02, (1000, 10, 3))
        >>> summarize(Ensemble("noise", frames, 300.0), native).folded.value
        1.0
    """
    measured = _measure(ensemble, native)
    return _summary(ensemble, measured, rmsd_edges(measured.rmsd), basins, blocks)


def compare(
    model: Ensemble,
    reference: Ensemble,
    native: ArrayLike,
    *,
    basins: Basins = DEFAULT_BASINS,
    blocks: Blocks = DEFAULT_BLOCKS,
) -> Comparison:
    """Compare a model with a reference at one temperature.

    Args:
        model: frames of the model.
        reference: frames of the all-atom simulation, mapped to the beads of the model.
        native: [n_beads, 3], nm.
        basins: definition of folded and unfolded.
        blocks: how errors are estimated.

    Raises:
        ValueError: the temperatures differ, numbers of beads differ, or too few frames.

    Example:
        >>> import numpy as np
        >>> native = np.cumsum(np.random.default_rng(0).normal(0.0, 0.2, (10, 3)), axis=0)
        >>> frames = native + np.random.default_rng(1).normal(0.0, 0.02, (1000, 10, 3))
        >>> same = compare(Ensemble("a", frames, 300.0), Ensemble("b", frames, 300.0), native)
        >>> same.q.rms, same.rmsd.overlap
        (0.0, 1.0)
    """
    if abs(model.temperature - reference.temperature) > _SAME_TEMPERATURE:
        got = f"{model.temperature:g} K and {reference.temperature:g} K"
        fix = "reweight one of them with `flashmd.analysis.temperature_weights`"
        raise ValueError(message("`model` and `reference`", "one temperature", got, fix))
    pair = (_measure(model, native), _measure(reference, native))
    edges = rmsd_edges(np.concatenate([each.rmsd for each in pair]))
    left = _summary(model, pair[0], edges, basins, blocks)
    right = _summary(reference, pair[1], edges, basins, blocks)
    return Comparison(
        model=left,
        reference=right,
        basins=basins,
        q=_difference(left.q_profile, right.q_profile),
        rmsd=_difference(left.rmsd_profile, right.rmsd_profile),
    )


def rmsd_edges(values: FloatArray) -> FloatArray:
    """Return bin edges in nm from 0 that hold all `values`, at most `_MAX_RMSD_BINS` bins."""
    width = _RMSD_WIDTH * max(1, int(np.ceil(values.max() / _RMSD_WIDTH / _MAX_RMSD_BINS)))
    return np.asarray(width * np.arange(int(values.max() / width) + 2))


def _measure(ensemble: Ensemble, native: ArrayLike) -> _Coordinates:
    frames = as_frames(ensemble.positions, f"positions of {ensemble.label}")
    return _Coordinates(rmsd(frames, native), fraction_native(frames, native_contacts(native)))


def _summary(ensemble: Ensemble, measured: _Coordinates, edges: FloatArray, basins: Basins, blocks: Blocks) -> Summary:
    q_edges = np.linspace(0.0, 1.0, _Q_BINS + 1)
    profile = partial(
        free_energy,
        temperature=ensemble.temperature,
        weights=ensemble.weights,
        trajectory=ensemble.trajectory,
        resampled=ensemble.resampled,
        blocks=blocks,
    )
    folded, unfolded, mean_q, folding = _populations(ensemble, measured, basins, blocks)
    return Summary(
        label=ensemble.label,
        temperature=ensemble.temperature,
        n_frames=measured.q.size,
        rmsd=measured.rmsd,
        q=measured.q,
        rmsd_profile=profile([measured.rmsd], [edges]),
        q_profile=profile([measured.q], [q_edges]),
        surface=profile([measured.q, measured.rmsd], [q_edges, edges]),
        folded=folded,
        unfolded=unfolded,
        folding_free_energy=folding,
        mean_q=mean_q,
        minimum_rmsd=float(measured.rmsd.min()),
    )


def _populations(
    ensemble: Ensemble, measured: _Coordinates, basins: Basins, blocks: Blocks
) -> tuple[Estimate, Estimate, Estimate, Estimate]:
    n_frames = measured.q.size
    bootstrap = Bootstrap.of(
        n_frames,
        weights=ensemble.weights,
        trajectory=ensemble.trajectory,
        resampled=ensemble.resampled,
        blocks=blocks,
    )
    is_folded, is_unfolded = measured.rmsd < basins.folded_rmsd, measured.rmsd > basins.unfolded_rmsd
    columns = np.stack([is_folded, is_unfolded, measured.q, np.ones(n_frames)], axis=1)
    total, drawn = bootstrap.sums(columns.astype(np.float64))

    def means(sums: FloatArray) -> FloatArray:
        ratio = sums[:, :3] / sums[:, 3:]
        with np.errstate(divide="ignore"):
            stability = -BOLTZMANN * ensemble.temperature * (np.log(ratio[:, :1]) - np.log(1.0 - ratio[:, :1]))
        return np.asarray(np.concatenate([ratio, stability], axis=1))

    value = means(total[None])[0]
    error = np.where(np.isfinite(value), bootstrap.standard_error(means(drawn)), np.nan)
    estimates = [Estimate(float(v), float(e)) for v, e in zip(value, error, strict=True)]
    return estimates[0], estimates[1], estimates[2], estimates[3]


def _difference(left: FreeEnergy, right: FreeEnergy) -> Difference:
    common = np.isfinite(left.values) & np.isfinite(right.values)
    gap = (left.values - right.values)[common]
    rms = float(np.sqrt(((gap - gap.mean()) ** 2).mean())) if gap.size else float("nan")
    density = [_density(profile) for profile in (left, right)]
    return Difference(rms, float(np.minimum(*density).sum()), int(common.sum()))


def _density(profile: FreeEnergy) -> FloatArray:
    """Return the probability of each bin of a profile with equal bins; masked bins are empty."""
    factor = np.exp(-profile.values / (BOLTZMANN * profile.temperature))
    filled = np.where(np.isfinite(factor), factor, 0.0)
    return np.asarray(filled / filled.sum())
