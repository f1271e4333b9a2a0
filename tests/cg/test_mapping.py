"""Beads of real and broken structures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flashmd.cg import CA_TYPES, FIVE_BEAD_TYPES, map_structure
from flashmd.cg.beads import bead_mass, standard_residue

CHIGNOLIN = ("TYR", "TYR", "ASP", "PRO", "GLU", "THR", "GLY", "THR", "TRP", "TYR")

PDB = """\
ATOM      1  N   TYR A   1       0.000   0.000   0.000  1.00  0.00           N
ATOM      2  H   TYR A   1       0.500   0.500   0.500  1.00  0.00           H
ATOM      3  CA  TYR A   1       1.458   0.000   0.000  1.00  0.00           C
ATOM      4  C   TYR A   1       2.009   1.420   0.000  1.00  0.00           C
ATOM      5  O   TYR A   1       1.251   2.390   0.000  1.00  0.00           O
ATOM      6  N   GLY A   2       3.332   1.536   0.000  1.00  0.00           N
ATOM      7  CA  GLY A   2       3.988   2.839   0.000  1.00  0.00           C
ATOM      8  C   GLY A   2       5.504   2.693   0.000  1.00  0.00           C
ATOM      9  OXT GLY A   2       6.030   1.580   0.000  1.00  0.00           O
ATOM     10  OT1 GLY A   2       6.100   3.900   0.000  1.00  0.00           O
HETATM   11  O   HOH A   3       9.000   9.000   9.000  1.00  0.00           O
HETATM   12 CA    CA A   4      12.000   9.000   9.000  1.00  0.00          CA
END
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "structure.pdb"
    path.write_text(text)
    return path


def test_type_tables_are_those_of_published_five_bead_models() -> None:
    assert len(CA_TYPES) == 20
    assert sorted(CA_TYPES.values()) == list(range(1, 21))
    expected = {"ALA": 1, "GLY": 6, "PRO": 13, "ARG": 15, "VAL": 18, "TYR": 20, "N": 21, "CA": 22, "C": 23, "O": 24}
    assert {name: FIVE_BEAD_TYPES[name] for name in expected} == expected


def test_protonation_states_are_folded() -> None:
    assert [standard_residue(n) for n in ("HID", "hip", "CYX", "ASH", "MSE", "ACE")] == [
        "HIS",
        "HIS",
        "CYS",
        "ASP",
        "MET",
        None,
    ]


def test_c_alpha_mass_is_that_of_the_residue() -> None:
    # Glycine C2H3NO from standard atomic weights.
    assert bead_mass("GLY", "CA", "ca") == pytest.approx(2 * 12.011 + 3 * 1.008 + 14.007 + 15.999, abs=2e-3)


def test_five_beads_of_chignolin(shared_data: Path) -> None:
    structure = map_structure(shared_data / "mlcg" / "cln_5beads.pdb", "five_bead")
    assert structure.sequence == CHIGNOLIN
    assert structure.n_beads == 49
    assert structure.types[:11].tolist() == [21, 22, 20, 23, 24, 21, 22, 20, 23, 24, 21]
    glycine = structure.types[structure.residue_index == 6]
    assert glycine.tolist() == [21, 6, 23, 24]
    assert structure.masses[:5].tolist() == [14.0, 12.0, 12.0, 12.0, 16.0]
    assert structure.residue_ids == tuple(range(2, 12))
    # The first atom of the file, in angstrom.
    torch.testing.assert_close(structure.positions[0, 0], torch.tensor([0.2155, -0.4622, -0.3559]))


def test_c_alphas_of_chignolin(shared_data: Path) -> None:
    structure = map_structure(shared_data / "mlcg" / "cln_5beads.pdb", "ca")
    assert structure.types.tolist() == [20, 20, 3, 13, 4, 17, 6, 17, 19, 20]
    assert structure.atom_indices[:3].tolist() == [1, 6, 11]
    assert structure.masses[6] == 57.0519


def test_water_and_calcium_carry_no_bead(tmp_path: Path) -> None:
    structure = map_structure(write(tmp_path, PDB), "ca")
    assert structure.sequence == ("TYR", "GLY")
    assert structure.atom_indices.tolist() == [2, 6]


def test_terminal_oxygen_by_its_other_name(tmp_path: Path) -> None:
    structure = map_structure(write(tmp_path, PDB.replace("TYR", "GLY")), "five_bead")
    assert structure.bead_names == ("N", "CA", "C", "O") * 2
    torch.testing.assert_close(structure.positions[0, 7], torch.tensor([0.61, 0.39, 0.0]))


def test_missing_atom_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, PDB)
    with pytest.raises(ValueError, match=r"residue TYR 1 of chain 0: expected atom CB for resolution 'five_bead'"):
        map_structure(path, "five_bead")


def test_unknown_amino_acid_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, PDB.replace("TYR", "XYZ"))
    with pytest.raises(
        ValueError, match="residue XYZ 1 of chain 0: expected a standard amino acid, got the name 'XYZ'"
    ):
        map_structure(path, "ca")


def test_no_protein(tmp_path: Path) -> None:
    path = write(tmp_path, "".join(line + "\n" for line in PDB.splitlines() if line.startswith(("HETATM", "END"))))
    with pytest.raises(ValueError, match="expected at least one amino acid, got none"):
        map_structure(path, "ca")


def test_unknown_resolution() -> None:
    with pytest.raises(ValueError, match="`resolution`: expected 'ca' or 'five_bead', got 'martini'"):
        map_structure("unused.pdb", "martini")  # type: ignore[arg-type]


def trace(residues: list[tuple[str, int]]) -> str:
    """CA atoms 0.38 nm apart; the number of a residue tells its place."""
    line = "ATOM  {0:5d}  CA  {1} A{0:4d}    {2:8.3f}   0.000   0.000  1.00  0.00           C\n"
    return "".join(line.format(number, name, 3.8 * number) for name, number in residues) + "END\n"


def test_missing_residue_is_named(tmp_path: Path) -> None:
    whole = trace([("TYR", 1), ("ASP", 2), ("PRO", 3)])
    assert map_structure(write(tmp_path, whole), "ca").sequence == ("TYR", "ASP", "PRO")
    text = r"residues TYR 1 and PRO 3 of chain 0: expected CA atoms within 0.45 nm, got 0.76 nm"
    with pytest.raises(ValueError, match=text):
        map_structure(write(tmp_path, trace([("TYR", 1), ("PRO", 3)])), "ca")
    two_chains = trace([("TYR", 1), ("PRO", 3)]).replace("PRO A", "PRO B")
    assert map_structure(write(tmp_path, two_chains), "ca").chain == (0, 1)


def test_unknown_residue_of_a_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="residue XYZ 2 of chain 0: expected a standard amino acid"):
        map_structure(write(tmp_path, trace([("TYR", 1), ("XYZ", 2), ("PRO", 3)])), "ca")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # mdtraj leaves the file open
def test_file_without_atoms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"structure.pdb`: expected a structure, got IndexError"):
        map_structure(write(tmp_path, "garbage\n"), "ca")
