"""The batch of systems: joining, splitting and what it refuses."""

from __future__ import annotations

import pytest
import torch

from flashmd.system import System

LATTICE = torch.tensor([[2.0, 0.0, 0.0], [0.5, 2.0, 0.0], [0.0, 0.3, 2.0]])


def molecule(n_atoms: int, seed: int, **options) -> System:
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.arange(n_atoms)
    return System.single(
        torch.rand(n_atoms, 3, generator=generator),
        atoms + 1,
        masses=10.0 + torch.rand(n_atoms, generator=generator),
        interactions={"bonds": torch.stack([atoms[:-1], atoms[1:]], 1)},
        **options,
    )


def assert_same(left: System, right: System) -> None:
    for name in ("positions", "types", "masses", "batch", "ptr", "cell", "pbc"):
        assert torch.equal(getattr(left, name), getattr(right, name)), name
    assert set(left.interactions) == set(right.interactions)
    for name, terms in left.interactions.items():
        assert torch.equal(terms, right.interactions[name]), name


def test_splitting_undoes_joining() -> None:
    parts = [molecule(3, 0), molecule(5, 1, cell=LATTICE, pbc=[True, False, True]), molecule(1, 2)]
    joined = System.concatenate(parts)
    assert (joined.n_atoms, joined.n_systems) == (9, 3)
    assert joined.ptr.tolist() == [0, 3, 8, 9]
    assert joined.batch.tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 2]
    assert joined.interactions["bonds"].tolist() == [[0, 1], [1, 2], [3, 4], [4, 5], [5, 6], [6, 7]]
    for part, back in zip(parts, joined.split(), strict=True):
        assert_same(part, back)


def test_joining_is_associative() -> None:
    a, b, c = molecule(2, 0), molecule(3, 1), molecule(4, 2)
    left = System.concatenate([System.concatenate([a, b]), c])
    assert_same(left, System.concatenate([a, b, c]))


def test_replicas_follow_each_other() -> None:
    replicas = molecule(3, 0).replicate(4)
    assert replicas.ptr.tolist() == [0, 3, 6, 9, 12]
    assert replicas.interactions["bonds"][-1].tolist() == [10, 11]
    assert torch.equal(replicas.positions[9:], molecule(3, 0).positions)


def test_conversion_leaves_integers_alone() -> None:
    double = molecule(3, 0, cell=LATTICE, pbc=True).to(dtype=torch.float64)
    assert (double.positions.dtype, double.masses.dtype, double.cell.dtype) == (torch.float64,) * 3
    assert (double.types.dtype, double.ptr.dtype, double.pbc.dtype) == (torch.int64, torch.int64, torch.bool)


def test_missing_masses_are_one_and_a_missing_cell_is_open() -> None:
    system = System.single(torch.zeros(2, 3), torch.tensor([1, 1]))
    assert system.masses.tolist() == [1.0, 1.0]
    assert not system.pbc.any()
    assert not system.cell.any()


def test_wrong_shapes_and_dtypes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`positions`: expected shape \(2, 3\), got \(3, 3\)"):
        System.single(torch.zeros(3, 3), torch.tensor([1, 1]))
    with pytest.raises(ValueError, match=r"`masses`: expected shape \(2,\), got \(3,\)"):
        System.single(torch.zeros(2, 3), torch.tensor([1, 1]), masses=torch.ones(3))
    with pytest.raises(TypeError, match=r"`positions`: expected float32 or float64, got torch.int64"):
        System.single(torch.zeros(2, 3, dtype=torch.int64), torch.tensor([1, 1]))
    with pytest.raises(ValueError, match=r"`cell`: expected a lattice, since `pbc` is set, got None"):
        System.single(torch.zeros(2, 3), torch.tensor([1, 1]), pbc=True)


def test_joining_refuses_to_lose_terms() -> None:
    bare = System.single(torch.zeros(2, 3), torch.tensor([1, 1]))
    with pytest.raises(ValueError, match=r"system 1: expected the list 'bonds' of the others, got none"):
        System.concatenate([molecule(2, 0), bare])
    with pytest.raises(ValueError, match=r"`systems`: expected at least one system, got none"):
        System.concatenate([])
