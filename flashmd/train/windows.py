r"""Average mapped forces over short windows of a trajectory.

The mean force changes on the time scale of the beads (picoseconds), the noise of the mapped forces around it is
forgotten within tens of femtoseconds. The mean over a window of close frames therefore carries the same mean force
with much less noise, and one frame to train on stands for many. The stiff part of the force, which does change within a
window, is taken out by a prior before averaging and put back at the mean position:

.. math:: \bar F = \langle F - F_{prior}(x) \rangle + F_{prior}(\bar x), \qquad \bar x = \langle x \rangle

The mean position is that of the residual force to first order in the motion within the window; the error is of second
order, the curvature of the residual force times the mean square motion.
"""

from __future__ import annotations

import dataclasses

import torch

from flashmd.errors import message
from flashmd.potential import Potential
from flashmd.train.dataset import ForceDataset
from flashmd.train.force_matching import prior_forces


def window_means(dataset: ForceDataset, prior: Potential, n_window: int) -> tuple[ForceDataset, float]:
    """Average consecutive frames.

    Args:
        dataset: frames in the order of time, trajectory after trajectory; the frames of a trajectory are contiguous
            in blocks whose lengths are multiples of `n_window`, at one temperature.
        prior: holds the stiff terms.
        n_window: frames of a window.

    Returns:
        The window means, and the mean square noise of one of their force components, (kJ/mol/nm)^2, estimated from
        the spread within the windows under the assumption that frames carry independent noise.

    Raises:
        ValueError: a window would join frames of different trajectories or temperatures.
    """
    if n_window < 2 or dataset.n_frames % n_window:
        got = f"{n_window} for {dataset.n_frames} frames"
        fix = "choose the length so that windows fill each stretch of a trajectory"
        raise ValueError(message("`n_window`", "a divisor of the number of frames, at least 2", got, fix))
    for name in ("trajectory", "temperature"):
        windows = getattr(dataset, name).reshape(-1, n_window)
        if not (windows == windows[:, :1]).all():
            fix = "sort the frames by trajectory and time, and choose a window that divides the stretches"
            raise ValueError(message(f"`{name}`", "one value within a window", "several", fix))
    shape = (-1, n_window, dataset.n_beads, 3)
    residual = (dataset.forces - prior_forces(prior, dataset)).reshape(shape)
    first = torch.arange(0, dataset.n_frames, n_window)
    means = dataclasses.replace(dataset.subset(first), positions=dataset.positions.reshape(shape).mean(dim=1))
    forces = residual.mean(dim=1) + prior_forces(prior, means)
    noise = float(residual.double().var(dim=1).mean()) / n_window
    return dataclasses.replace(means, forces=forces), noise
