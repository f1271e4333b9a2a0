r"""The force-matching loss of a network and its gradient.

.. math:: L(\theta) = \frac{1}{3 N n s^2} \sum_{frames} | F_{ref} - F_{prior} + \nabla E_\theta |^2

=====================  =====================================
symbol                 variable
=====================  =====================================
:math:`N`, :math:`n`   n_beads, n_frames
:math:`F_{ref}`        forces mapped from atoms
:math:`s^2`            scale, the mean square of the target
=====================  =====================================

The minimum over all functions is the potential of mean force; what remains at the minimum is the noise of the mapped
forces around their mean. Source: Noid et al., doi:10.1063/1.2938860; Wang et al., doi:10.1021/acscentsci.8b00913.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flashmd.nn import FilterTable, FrameEnergies
from flashmd.potential import Potential
from flashmd.train.dataset import ForceDataset

_PAIRS_AT_ONCE = 4096  # pairs x filters of this size stay in the cache, and bound the memory of large molecules
_BEADS_AT_ONCE = 4096  # through a table nothing has the size pairs x filters, so the features bound the memory
_PRIOR_FRAMES_AT_ONCE = 512


def network_forces(
    energies: FrameEnergies, positions: Tensor, *, table: FilterTable | None = None, create_graph: bool = False
) -> Tensor:
    """Return the forces of a network.

    Args:
        energies: network on the frames of a molecule.
        positions: [n_frames, n_beads, 3], nm.
        table: table of the network, see :class:`flashmd.nn.FrameEnergies`.
        create_graph: keep the graph, to differentiate the forces by the parameters.

    Returns:
        [n_frames, n_beads, 3], kJ/mol/nm.
    """
    with torch.enable_grad():
        leaf = positions.detach().requires_grad_()
        gradient = torch.autograd.grad(energies(leaf, table).sum(), leaf, create_graph=create_graph)[0]
    return -gradient


def accumulate_gradient_(energies: FrameEnergies, positions: Tensor, target: Tensor, *, scale: float) -> float:
    """Add the gradient of the loss of a batch to the parameters' `grad` and return the loss.

    The table is made once for the batch: its gradient is summed first and then taken through the filter network.

    Args:
        energies: network on the frames of a molecule.
        positions: [n_frames, n_beads, 3], nm.
        target: [n_frames, n_beads, 3], reference minus prior forces, kJ/mol/nm.
        scale: unit of the squared error, (kJ/mol/nm)^2.
    """
    inputs: list[Tensor] = [p for p in energies.network.parameters() if p.requires_grad]
    made, table = energies.table(), None
    if made is not None:
        values, slopes = (each.detach().requires_grad_() for each in (made.values, made.slopes))
        table = FilterTable(values, slopes, made.cutoff)
        inputs += [values, slopes]
    chunk, total = _frames_at_once(energies), torch.zeros((), dtype=torch.float64)
    for x, f in zip(positions.split(chunk), target.split(chunk), strict=True):
        error = network_forces(energies, x, table=table, create_graph=True) - f
        loss = (error * error).sum() / (scale * target.numel())
        torch.autograd.backward(loss, inputs=inputs)
        total += loss.detach().to(total)
    if made is not None and table is not None:
        gradient = [table.values.grad, table.slopes.grad]
        torch.autograd.backward([made.values, made.slopes], gradient, inputs=inputs[:-2])
    return float(total)


def mean_square_error(energies: FrameEnergies, positions: Tensor, target: Tensor) -> float:
    """Return the mean square of a force component's error, (kJ/mol/nm)^2; arguments as `accumulate_gradient_`."""
    chunk, total = _frames_at_once(energies), torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        table = energies.table()
    for x, f in zip(positions.split(chunk), target.split(chunk), strict=True):
        total += (network_forces(energies, x, table=table) - f).double().square().sum()
    return float(total) / target.numel()


def prior_forces(prior: Potential, dataset: ForceDataset) -> Tensor:
    """Return the forces of a prior on every frame.

    Args:
        prior: a potential of the molecule.
        dataset: its frames.

    Returns:
        [n_frames, n_beads, 3], float32, kJ/mol/nm, computed in float64.
    """
    forces = torch.empty_like(dataset.positions)
    n_chunk = min(_PRIOR_FRAMES_AT_ONCE, dataset.n_frames)
    system = dataset.system(n_chunk, dtype=torch.float64)
    for begin in range(0, dataset.n_frames, n_chunk):
        frames = dataset.positions[begin : begin + n_chunk]
        if frames.shape[0] < n_chunk:
            system = dataset.system(frames.shape[0], dtype=torch.float64)
        batch = system.with_positions(frames.reshape(-1, 3).double())
        forces[begin : begin + n_chunk] = prior.evaluate(batch).forces.reshape(frames.shape).float()
    return forces


def _frames_at_once(energies: FrameEnergies) -> int:
    if energies.n_knots is not None:
        return max(1, _BEADS_AT_ONCE // max(1, energies.n_beads))
    return max(1, _PAIRS_AT_ONCE // max(1, energies.n_pairs))
