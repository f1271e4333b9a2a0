"""Energies in parallel processes: the same numbers as in one, and every failure counted."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from torch import Tensor

from flashmd.backmap.chains import Chains
from flashmd.backmap.force_fields import EnergyWorkers
from flashmd.backmap.hydrogens import AllAtoms, all_atoms
from flashmd.errors import EnergyFailureError, MissingDependencyError

SINGLE = 1e-5
"""Relative error of the CPU platform, which works in single precision."""


def peptide(frames: int = 3) -> tuple[AllAtoms, Tensor]:
    """Atoms of a peptide about 0.3 nm apart on a lattice."""
    atoms = all_atoms(Chains.from_sequence("GAG"))
    lattice = torch.stack(torch.meshgrid(*[torch.arange(3.0)] * 3, indexing="ij"), -1).view(-1, 3)
    noise = torch.randn(frames, 27, 3, generator=torch.Generator().manual_seed(0))
    return atoms, (0.3 * lattice + 0.02 * noise)[:, : atoms.n_atoms]


def test_a_piece_of_one_residue_is_refused() -> None:
    atoms = all_atoms(Chains.from_sequence(["GA", "G"]))
    expected = r"pieces of chain: expected two residues or more, got single ones: B:GLY1"
    with EnergyWorkers("amber14-gbn2") as workers, pytest.raises(ValueError, match=expected):
        workers(atoms, torch.zeros(1, atoms.n_atoms, 3))


def test_gradient_is_that_of_the_energy() -> None:
    atoms, positions = peptide(1)
    positions, step = positions.double(), 1e-6
    along = torch.randn(positions.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with EnergyWorkers("amber14-gbn2", platform="Reference") as workers:
        slope = workers(atoms, positions + step * along).energy - workers(atoms, positions - step * along).energy
        expected = (workers(atoms, positions).gradient * along).sum()
    assert (slope / (2 * step)).item() == pytest.approx(expected.item(), rel=1e-6)


def test_processes_give_the_numbers_of_one() -> None:
    atoms, positions = peptide()
    with EnergyWorkers("charmm36") as alone, EnergyWorkers("charmm36", processes=2) as two:
        one, many = alone(atoms, positions), two(atoms, positions)
    assert torch.equal(one.energy, many.energy)
    assert torch.equal(one.gradient, many.gradient)
    assert two.evaluated == 3


def test_platforms_agree() -> None:
    atoms, positions = peptide(1)
    with EnergyWorkers("amber14-gbn2") as single, EnergyWorkers("amber14-gbn2", platform="Reference") as double:
        assert single(atoms, positions).energy.item() == pytest.approx(
            double(atoms, positions).energy.item(), rel=SINGLE
        )


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_is_marked(value: float) -> None:
    atoms, positions = peptide()
    positions[1, 4, 0] = value
    with EnergyWorkers("amber14-gbn2") as workers:
        batch = workers(atoms, positions)
    assert batch.failed.tolist() == [False, True, False]
    assert batch.energy.isnan().tolist() == [False, True, False]
    assert (batch.gradient[1] == 0).all()
    assert (workers.evaluated, workers.failed) == (3, 1)


def test_overflow_is_marked() -> None:
    atoms, positions = peptide(2)
    positions[0, 1:] = positions[0, :1]
    with EnergyWorkers("amber14-gbn2") as workers:
        assert workers(atoms, positions).failed.tolist() == [True, False]


def test_too_many_failures_raise() -> None:
    atoms, positions = peptide(20)
    positions[:3] = torch.nan
    text = r"structures: expected at most 10% without a finite energy, got 3 of 20 with amber14-gbn2"
    with EnergyWorkers("amber14-gbn2") as workers, pytest.raises(EnergyFailureError, match=text):
        workers(atoms, positions)
    with EnergyWorkers("amber14-gbn2", failure_limit=0.2) as workers:
        assert int(workers(atoms, positions).failed.sum()) == 3


def test_a_process_that_dies_is_reported() -> None:
    atoms, positions = peptide()
    with EnergyWorkers("amber14-gbn2", processes=2) as workers:
        workers(atoms, positions)
        pool = workers._pool
        assert isinstance(pool, ProcessPoolExecutor)
        os.kill(next(iter(pool._processes)), signal.SIGKILL)

        def again() -> None:
            for _ in range(50):
                workers(atoms, positions)

        with pytest.raises(
            EnergyFailureError, match="worker processes: expected all of them to answer, got the sudden end"
        ):
            again()


def test_pieces_of_one_residue_are_refused() -> None:
    atoms = all_atoms(Chains.from_sequence(["GG", "A"]))
    with (
        EnergyWorkers("amber14-gbn2") as workers,
        pytest.raises(ValueError, match="got single ones: B:ALA1. To fix it"),
    ):
        workers(atoms, torch.zeros(1, atoms.n_atoms, 3))


@pytest.mark.parametrize(
    "options, text",
    [
        ({"force_field": "opls"}, "`force_field`: expected one of amber14, amber14-gbn2, charmm36, got 'opls'"),
        ({"force_field": "charmm36", "processes": 0}, "`processes`: expected at least 1, got 0"),
    ],
)
def test_wrong_arguments(options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        EnergyWorkers(**options)  # type: ignore[arg-type]


def test_openmm_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openmm", None)
    atoms, positions = peptide()
    text = r"package `openmm`: expected it to be importable.*flashmd-cg\[openmm\]"
    with EnergyWorkers("charmm36") as workers, pytest.raises(MissingDependencyError, match=text):
        workers(atoms, positions)
