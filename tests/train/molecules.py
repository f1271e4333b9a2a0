"""Small molecules with known energies, for the tests of training."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flashmd.train import ForceDataset, MoleculeDataset


def build_chain(lengths: Tensor, cosines: Tensor, torsions: Tensor) -> Tensor:
    """Return positions [n_frames, n_beads, 3] of chains with given internal coordinates (IUPAC torsion sign).

    Args:
        lengths: [n_frames, n_beads - 1], nm.
        cosines: [n_frames, n_beads - 2], of the angles.
        torsions: [n_frames, n_beads - 3], rad.
    """
    n_frames, n_bonds = lengths.shape
    angle = torch.arccos(cosines)
    x = [lengths.new_zeros(n_frames, 3)]
    x.append(torch.stack([lengths[:, 0], *[lengths.new_zeros(n_frames)] * 2], dim=1))
    bend = math.pi - angle[:, 0]
    step = torch.stack([bend.cos(), bend.sin(), torch.zeros_like(bend)], dim=1)
    x.append(x[1] + lengths[:, 1, None] * step)
    for i in range(2, n_bonds):
        axis = torch.nn.functional.normalize(x[-1] - x[-2], dim=1)
        normal = torch.nn.functional.normalize(torch.linalg.cross(x[-2] - x[-3], axis, dim=1), dim=1)
        side = torch.linalg.cross(normal, axis, dim=1)
        bend, phi = angle[:, i - 1], torsions[:, i - 2]
        step = (
            -bend.cos()[:, None] * axis
            + (bend.sin() * phi.cos())[:, None] * side
            + (bend.sin() * phi.sin())[:, None] * normal
        )
        x.append(x[-1] + lengths[:, i, None] * step)
    return torch.stack(x, dim=1)


def dataset_of(
    positions: Tensor, *, forces: Tensor | None = None, temperature: Tensor | float = 300.0, n_trajectories: int = 4
) -> ForceDataset:
    """Return a data set of a chain of distinct bead types, cut into equally long trajectories."""
    n_frames, n_beads = positions.shape[:2]
    kelvin = torch.as_tensor(temperature, dtype=torch.float32).expand(n_frames).clone()
    rows = {name: [list(range(i, i + order)) for i in range(n_beads - order + 1)] for name, order in ORDERS.items()}
    rows["non_bonded"] = [[i, j] for i in range(n_beads) for j in range(i + 3, n_beads)]
    return ForceDataset(
        positions=positions.float(),
        forces=torch.zeros_like(positions.float()) if forces is None else forces.float(),
        types=torch.arange(1, n_beads + 1),
        masses=torch.full((n_beads,), 100.0, dtype=torch.float64),
        trajectory=torch.arange(n_frames) * n_trajectories // n_frames,
        temperature=kelvin,
        interactions={name: torch.tensor(terms) for name, terms in rows.items() if terms},
    )


ORDERS = {"bonds": 2, "angles": 3, "dihedrals": 4}


def random_chains(n_frames: int, n_beads: int, seed: int) -> Tensor:
    """Return chains of 0.38 nm bonds with random angles and torsions, float64."""
    generator = torch.Generator().manual_seed(seed)
    lengths = 0.38 + 0.01 * torch.randn(n_frames, n_beads - 1, generator=generator, dtype=torch.float64)
    cosines = -0.3 + 0.25 * torch.rand(n_frames, n_beads - 2, generator=generator, dtype=torch.float64)
    torsions = math.pi * (2.0 * torch.rand(n_frames, n_beads - 3, generator=generator, dtype=torch.float64) - 1.0)
    return build_chain(lengths, cosines, torsions)


def molecule_frames(n_frames: int, seed: int = 0) -> MoleculeDataset:
    """Return frames of random molecules of 3 to 6 atoms of types 1 and 3, whose pairs are harmonic springs.

    The energy adds -1000 and -5000 kJ/mol for the atoms. Groups are "even" and "odd" frames, ten trajectories.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = 3 + torch.arange(n_frames) % 4
    ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    positions = 0.2 * torch.randn(int(ptr[-1]), 3, generator=generator, dtype=torch.float64)
    types = 1 + 2 * torch.randint(0, 2, (int(ptr[-1]),), generator=generator)
    forces, energy = torch.empty_like(positions), []
    for begin, end in zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True):
        x = positions[begin:end].clone().requires_grad_()
        first, second = torch.triu_indices(end - begin, end - begin, 1)
        stiffness = 100.0 * (types[begin:end][first] + types[begin:end][second])
        distance = torch.linalg.vector_norm(x[first] - x[second], dim=1)
        bound = (stiffness * (distance - 0.2).square() * torch.exp(-20.0 * distance.square())).sum()
        forces[begin:end] = -torch.autograd.grad(bound, x)[0]
        constants = torch.where(types[begin:end] == 1, -1000.0, -5000.0)
        energy.append(bound.detach() + constants.sum())
    return MoleculeDataset(
        positions=positions.float(),
        forces=forces.float(),
        energy=torch.stack(energy),
        types=types,
        ptr=ptr,
        trajectory=torch.arange(n_frames) * 10 // n_frames,
        temperature=torch.where(torch.arange(n_frames) % 3 == 0, 300.0, 600.0),
        group=torch.arange(n_frames) % 2,
        group_names=("even", "odd"),
        bead_types={"H": 1, "O": 3},
        provenance={"origin": "springs"},
    )
