r"""Use all rungs of a temperature ladder for one temperature: MBAR weights through pymbar.

Frames of every rung carry information on the ensemble at every other temperature. The multistate Bennett acceptance
ratio (M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008), doi:10.1063/1.2978177) gives each frame
the weight it has at a target temperature. In the canonical ensemble the reduced potential is
:math:`u_k(x_n) = U(x_n) / k_B T_k`; a window of umbrella sampling adds its bias to :math:`U`.
"""

from __future__ import annotations

import logging

import numpy as np

from flashmd.analysis._arrays import ArrayLike, FloatArray, IntArray, as_float
from flashmd.analysis.bootstrap import DEFAULT_BLOCKS, Blocks, block_draws, block_index
from flashmd.errors import message, require
from flashmd.units import BOLTZMANN


def reduced_potentials(energy: ArrayLike, temperatures: ArrayLike) -> FloatArray:
    """Return ``u_kn``: the reduced potential of every frame at every temperature.

    Args:
        energy: [n_frames], kJ/mol, potential energies.
        temperatures: [n_temperatures], K.

    Returns:
        [n_temperatures, n_frames], dimensionless.

    Raises:
        ValueError: an energy is not finite, or a temperature is not positive.

    Example:
        >>> reduced_potentials([8.314462618], [1000.0]).round(6).tolist()
        [[1.0]]
    """
    values, kelvin = as_float(energy), as_float(temperatures)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(
            message("`energy`", "finite values of shape (n_frames,)", f"{values.shape}", "drop failed frames")
        )
    if kelvin.ndim != 1 or kelvin.size == 0 or not (kelvin > 0).all():
        raise ValueError(
            message("`temperatures`", "positive values in K", f"{kelvin.tolist()}", "pass the ladder in K")
        )
    return np.asarray(values[None, :] / (BOLTZMANN * kelvin[:, None]))


def mbar_weights(u_kn: ArrayLike, n_k: ArrayLike, target: ArrayLike) -> FloatArray:
    """Return the MBAR weight of every frame in a target ensemble.

    Args:
        u_kn: [n_states, n_frames], reduced potential of every frame in every sampled state.
        n_k: [n_states], frames sampled from each state; the sum is n_frames. The order of the frames is free.
        target: [n_frames], reduced potential of every frame in the target ensemble.

    Returns:
        [n_frames], weights of sum 1.

    Raises:
        MissingDependencyError: pymbar is absent.
        ValueError: shapes do not fit.

    Example:
        >>> import numpy as np
        >>> mbar_weights(np.zeros((1, 4)), [4], np.zeros(4)).tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    potential, number, goal = as_float(u_kn), as_float(n_k), as_float(target)
    if potential.ndim != 2 or goal.shape != potential.shape[1:] or number.shape != potential.shape[:1]:
        got = f"{potential.shape}, {number.shape} and {goal.shape}"
        expected = "shapes (n_states, n_frames), (n_states,) and (n_frames,)"
        raise ValueError(message("`u_kn`, `n_k` and `target`", expected, got, "use `reduced_potentials`"))
    if int(number.sum()) != potential.shape[1]:
        fix = "count the frames of each state"
        raise ValueError(message("`n_k`", f"a sum of {potential.shape[1]} frames", f"{int(number.sum())}", fix))
    return _weights(potential, number, goal)


def resampled_weights(
    u_kn: ArrayLike,
    state: ArrayLike,
    target: ArrayLike,
    *,
    trajectory: ArrayLike | None = None,
    blocks: Blocks = DEFAULT_BLOCKS,
) -> FloatArray:
    """Return the MBAR weights of every frame in each sample of a block bootstrap.

    The free energies between the states are solved for anew in each sample, so errors that are computed with these
    weights include theirs. For umbrella sampling this is most of the error.

    Args:
        u_kn: [n_states, n_frames], reduced potential of every frame in every sampled state.
        state: [n_frames], state each frame was sampled from.
        target: [n_frames], reduced potential of every frame in the target ensemble.
        trajectory: [n_frames], continuous trajectory of each frame; no block spans two.
        blocks: number of blocks, resamples and seed.

    Returns:
        [n_resamples, n_frames], weights of sum 1 each; 0 for frames that were not drawn.

    Raises:
        MissingDependencyError: pymbar is absent.
        ValueError: shapes do not fit, or fewer frames than blocks.
    """
    potential, index, goal = as_float(u_kn), as_float(state).astype(np.int64), as_float(target)
    mbar_weights(potential, np.bincount(index, minlength=potential.shape[0]), goal)  # checks the shapes
    block = block_index(goal.size, blocks.n_blocks, trajectory=trajectory)
    draws = block_draws(int(block.max()) + 1, blocks)
    result = np.zeros((blocks.n_resamples, goal.size))
    for sample, times in enumerate(draws):
        multiplicity = times[block]
        picked = np.repeat(np.arange(goal.size), multiplicity)
        number = np.bincount(index[picked], minlength=potential.shape[0]).astype(np.float64)
        weight = _weights(potential[:, picked], number, goal[picked])
        result[sample] = np.bincount(picked, weights=weight, minlength=goal.size)
    return result


def _weights(potential: FloatArray, number: FloatArray, goal: FloatArray) -> FloatArray:
    solver = _import_pymbar()(potential, number.astype(np.int64), solver_protocol="robust")
    sampled = number > 0
    exponent = (np.asarray(solver.f_k) + np.log(np.where(sampled, number, 1.0)))[:, None] - potential
    log_weight = -goal - np.logaddexp.reduce(exponent[sampled], axis=0)
    weight = np.exp(log_weight - log_weight.max())
    return np.asarray(weight / weight.sum())


def temperature_weights(
    energy: ArrayLike, rung: ArrayLike, temperatures: ArrayLike, *, temperature: float
) -> FloatArray:
    """Return the weight of every frame of a ladder at one temperature, which need not be a rung.

    Args:
        energy: [n_frames], kJ/mol, potential energies.
        rung: [n_frames], index of the temperature each frame was sampled at.
        temperatures: [n_temperatures], K.
        temperature: K, target.

    Returns:
        [n_frames], weights of sum 1.

    Raises:
        MissingDependencyError: pymbar is absent.
        ValueError: shapes do not fit, or a rung is not on the ladder.
    """
    kelvin, index = as_float(temperatures), as_float(rung).astype(np.int64)
    potential = reduced_potentials(energy, kelvin)
    if index.shape != potential.shape[1:] or index.min() < 0 or index.max() >= kelvin.size:
        expected = f"{potential.shape[1]} indices from 0 to {kelvin.size - 1}"
        got = f"shape {index.shape}, {index.min()} to {index.max()}"
        raise ValueError(message("`rung`", expected, got, "name the temperature each frame was sampled at"))
    target = reduced_potentials(energy, [temperature])[0]
    return mbar_weights(potential, np.bincount(index, minlength=kelvin.size), target)


def umbrella_potentials(
    coordinate: ArrayLike, center: ArrayLike, *, spring: float, temperature: float
) -> tuple[FloatArray, IntArray]:
    r"""Return the reduced bias of every frame in every window of umbrella sampling, and the window of each frame.

    The bias of a window with centre :math:`q_0` is :math:`\tfrac{1}{2} k (q - q_0)^2`. Without it, the reduced
    potential is the same in all windows and counts as zero, so ``target = 0`` is the unbiased ensemble.

    Args:
        coordinate: [n_frames], the biased coordinate.
        center: [n_frames], centre of the window each frame was sampled in, in the unit of the coordinate.
        spring: k, kJ/mol over the square of the unit of the coordinate.
        temperature: K.

    Returns:
        `u_kn` [n_windows, n_frames] and `state` [n_frames].

    Raises:
        ValueError: shapes differ.

    Example:
        >>> import numpy as np
        >>> u_kn, state = umbrella_potentials([0.0, 0.1], [0.0, 0.2], spring=100.0, temperature=300.0)
        >>> mbar_weights(u_kn, np.bincount(state), np.zeros(2)).shape
        (2,)
    """
    value, window = as_float(coordinate), as_float(center)
    if value.shape != window.shape:
        got = f"{window.shape} for {value.shape}"
        raise ValueError(message("`center`", "one centre for each frame", got, "name the window of each frame"))
    centers, state = np.unique(window, return_inverse=True)
    bias = 0.5 * spring * (value[None, :] - centers[:, None]) ** 2 / (BOLTZMANN * temperature)
    return bias, state.astype(np.int64)


def effective_samples(weights: ArrayLike) -> float:
    """Return Kish's effective number of samples, ``(sum w)^2 / sum w^2``.

    >>> effective_samples([1.0, 1.0, 0.0])
    2.0
    """
    values = as_float(weights)
    return float(values.sum() ** 2 / (values**2).sum())


def _import_pymbar() -> type:
    # pymbar tells about its optional accelerator through the root of its logger when it is imported
    quiet, level = logging.getLogger("pymbar"), logging.getLogger("pymbar").level
    quiet.setLevel(logging.ERROR)
    try:
        from pymbar import MBAR
    except ImportError as error:
        raise require("pymbar", "analysis") from error
    finally:
        quiet.setLevel(level)
    found: type = MBAR
    return found
