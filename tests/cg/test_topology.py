"""Lists of terms against the counts of published models and hand-written lists."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flashmd.cg import CA_TYPES, CGStructure, build_system, interaction_lists, map_structure


def c_alpha_chain(n: int, *, chain: tuple[int, ...] = (), ids: tuple[int, ...] = ()) -> CGStructure:
    return CGStructure(
        resolution="ca",
        sequence=("ALA",) * n,
        residue_ids=ids or tuple(range(1, n + 1)),
        chain=chain or (0,) * n,
        types=torch.full((n,), CA_TYPES["ALA"]),
        masses=torch.full((n,), 71.0, dtype=torch.float64),
        bead_names=("CA",) * n,
        residue_index=torch.arange(n),
        atom_indices=torch.arange(n),
        positions=torch.rand(3, n, 3),
    )


def test_five_bead_counts_of_chignolin(shared_data: Path) -> None:
    # Counts of the published five-bead data of chignolin.
    lists = interaction_lists(map_structure(shared_data / "mlcg" / "cln_5beads.pdb", "five_bead"))
    counts = {name: len(terms) for name, terms in lists.items()}
    assert [counts[f"{place}_bonds"] for place in ("n_term", "bulk", "c_term")] == [5, 38, 5]
    assert [counts[f"{place}_angles"] for place in ("n_term", "bulk", "c_term")] == [7, 51, 7]
    assert sum(count for name, count in counts.items() if name.endswith("_phi")) == 9
    assert sum(count for name, count in counts.items() if name.endswith("_psi")) == 9
    assert (counts["pro_omega"], counts["non_pro_omega"]) == (1, 8)
    assert (counts["gamma_1"], counts["gamma_2"]) == (9, 9)
    assert counts["non_bonded"] == 924


def test_five_bead_torsions_name_the_right_atoms(shared_data: Path) -> None:
    structure = map_structure(shared_data / "mlcg" / "cln_5beads.pdb", "five_bead")
    lists = interaction_lists(structure)
    # PRO is residue 4 of the file's ten: beads 15 to 19; ASP before it: 10 to 14; GLU after it: 20 to 24.
    assert lists["PRO_phi"].tolist() == [[13, 15, 16, 18]]
    assert lists["PRO_psi"].tolist() == [[15, 16, 18, 20]]
    assert lists["pro_omega"].tolist() == [[11, 13, 15, 16]]
    assert lists["gamma_1"][0].tolist() == [0, 2, 3, 1]
    assert lists["gamma_2"][0].tolist() == [1, 4, 5, 3]


def test_torsions_agree_with_mdtraj(shared_data: Path) -> None:
    mdtraj = pytest.importorskip("mdtraj")
    path = shared_data / "mlcg" / "cln_5beads.pdb"
    lists = interaction_lists(map_structure(path, "five_bead"))
    for name, compute in (("phi", mdtraj.compute_phi), ("psi", mdtraj.compute_psi)):
        own = {tuple(row) for key, rows in lists.items() if key.endswith(f"_{name}") for row in rows.tolist()}
        assert own == {tuple(row) for row in compute(mdtraj.load(str(path)))[0].tolist()}


def test_c_alpha_lists_of_five_beads() -> None:
    lists = interaction_lists(c_alpha_chain(5))
    assert lists["bonds"].tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]
    assert lists["angles"].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert lists["dihedrals"].tolist() == [[0, 1, 2, 3], [1, 2, 3, 4]]
    assert lists["non_bonded"].tolist() == [[0, 3], [0, 4], [1, 4]]


@pytest.mark.parametrize("broken", [{"chain": (0, 0, 1, 1)}, {"ids": (1, 2, 9, 10)}])
def test_no_term_crosses_a_break(broken: dict[str, tuple[int, ...]]) -> None:
    lists = interaction_lists(c_alpha_chain(4, **broken))
    assert lists["bonds"].tolist() == [[0, 1], [2, 3]]
    assert set(lists) == {"bonds", "non_bonded"}
    assert lists["non_bonded"].tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]


def test_insertion_codes_stay_bonded() -> None:
    assert len(interaction_lists(c_alpha_chain(3, ids=(10, 10, 11)))["bonds"]) == 2


def test_build_system() -> None:
    structure = c_alpha_chain(4)
    system = build_system(structure, dtype=torch.float64, frame=2)
    assert system.positions.dtype == system.masses.dtype == torch.float64
    torch.testing.assert_close(system.positions, structure.positions[2].double())
    assert system.masses.tolist() == [71.0] * 4
    assert set(system.interactions) == {"bonds", "angles", "dihedrals", "non_bonded"}


def test_built_systems_have_every_list_of_their_resolution() -> None:
    structure = c_alpha_chain(2)
    lists = build_system(structure).interactions
    assert {name: tuple(index.shape) for name, index in lists.items()} == {
        "bonds": (1, 2),
        "angles": (0, 3),
        "dihedrals": (0, 4),
        "non_bonded": (0, 2),
    }


def test_missing_frame() -> None:
    structure = replace(c_alpha_chain(4))
    with pytest.raises(ValueError, match="`frame`: expected an index of 3 frames, got 3"):
        build_system(structure, frame=3)
