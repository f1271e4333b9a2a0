"""The benchmark of backmapping and the script that finds Ramachandran regions, on small data."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from flashmd.backmap import read_trace
from flashmd.backmap.model import BackmapModel
from flashmd.backmap.network import NetworkConfig
from flashmd.backmap.quality import assess, ramachandran
from flashmd.backmap.residues import ATOMS, RESIDUES
from tests.backmap.peptides import peptide
from tests.backmap.structures import write_heavy

EXAMPLES = Path(__file__).parents[2] / "examples"
SEQUENCE = "GAVSTIKDELMNQC" * 5
BENCHMARK = (
    "backmapping",
    "backmapping_cases",
    "backmapping_figures",
    "backmapping_methods",
    "backmapping_peers",
    "machine",
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder as the benchmark expects it: one validation chain, a helix, and one fast folder."""
    (tmp_path / "backmapping").mkdir()
    (tmp_path / "fast_folders" / "native").mkdir(parents=True)
    write_npz(tmp_path / "backmapping" / "validation_chains.npz", SEQUENCE)
    chains, native = peptide("GAVSTIKDEL")
    write_heavy(tmp_path / "fast_folders" / "native" / "small_1abc.pdb", chains, native[None])
    return tmp_path


def write_npz(path: Path, sequence: str, name: str = "1ABC_l_u:A") -> None:
    chains, native = peptide(sequence, phi=-65.0)
    names = sorted({atom for atoms in ATOMS.values() for atom in atoms})
    kinds = chains.types.tolist()
    owners = [index for index, kind in enumerate(kinds) for _ in ATOMS[RESIDUES[kind]]]
    np.savez(
        path,
        xyz_milli_angstrom=(chains.flatten(native).numpy() * 1e4).round().astype(np.int32),
        atom_name=np.array([names.index(name) for name in chains.atom_names], dtype=np.uint8),
        atom_names=np.array(names),
        residue_of_atom=np.array(owners, dtype=np.int32),
        residue_type=chains.types.numpy().astype(np.uint8),
        residue_types=np.array(RESIDUES),
        residue_number=np.arange(1, len(kinds) + 1, dtype=np.int16),
        insertion_code=np.full(len(kinds), 32, dtype=np.uint8),
        chain_ptr=np.array([0, len(kinds)], dtype=np.int32),
        chain_id=np.array([name]),
    )


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES / "benchmarks"))
    for name in BENCHMARK:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("backmapping")


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
    threads = torch.get_num_threads()
    try:
        return int(module.main())
    finally:
        torch.set_num_threads(threads)


def small_model(path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BackmapModel(NetworkConfig(width=8, edge_width=8, n_layers=1, n_neighbors=3)).save(path)
    return path


def test_benchmark(
    benchmark: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An untrained model puts atoms somewhere, the native structure is perfect, and every table says so."""
    pytest.importorskip("openmm", reason="OpenMM is not installed")
    model = small_model(data / "model.safetensors")
    words = ["--data", data, "--model", model, "--samples", 2, "--methods", "native", "flashmd", "flashmd, relaxed"]
    assert run(benchmark, monkeypatch, *words, "--csv", data / "rows.csv", "--figures", data / "figures") == 0
    with (data / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    identity = [(row["case"], row["method"], row["sample"]) for row in rows]
    per_case = [("native", "0")] + [(method, sample) for method in ("flashmd", "flashmd, relaxed") for sample in "01"]
    assert identity == [(case, *each) for case in ("1ABCA", "small") for each in per_case]
    natives, ours = ([row for row in rows if row["method"] == method] for method in ("native", "flashmd"))
    assert [float(row["amber14_above"]) for row in natives] == [0.0, 0.0]
    assert all(float(row["rmsd_ca"]) < 1e-4 < float(row["rmsd_backbone"]) for row in ours)
    assert all(float(row["seconds"]) > 0.0 and float(row["diversity"]) <= 1.0 for row in ours)
    pictures = {path.name: path.stat().st_size for path in (data / "figures").iterdir()}
    assert set(pictures) == {f"backmapping_{name}.png" for name in ("ramachandran", "rotamers", "overlaps", "overlay")}
    assert min(pictures.values()) > 5_000
    printed = capsys.readouterr().out
    assert "amber14_above                      0" in printed
    assert "rotamers                           0" in printed


def test_every_chain_with_kept_structures(
    benchmark: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bound form of a chain is a case of its own; cases without structures of a peer are left out."""
    archive = data / "backmapping" / "validation_chains.npz"
    write_npz(archive, SEQUENCE, "1ABC_l_b-matched:A")
    keep = data / "keep"
    keep.mkdir()
    _, native = peptide(SEQUENCE, phi=-65.0)
    np.savez(keep / "1ABCA-bound_pulchra_1.npz", positions=native.numpy(), seconds=2.0)
    monkeypatch.setattr(sys.modules["backmapping_peers"], "available", lambda method: True)
    words = ["--data", data, "--keep", keep, "--methods", "native", "pulchra", "--only-kept", "--energy-residues", 9]
    assert run(benchmark, monkeypatch, *words, "--validation", "all", "--processes", 2) == 0
    printed = capsys.readouterr().out
    assert "1ABCA-bound: 70 residues" in printed
    assert "validation chains and targets: 1" in printed
    assert "small" not in printed
    assert "amber14" not in printed
    assert run(benchmark, monkeypatch, *words, "--validation", 1) == 0
    assert "residues" not in capsys.readouterr().out.split("\n", 1)[1]


def test_gaps_are_ends_of_chains_for_peers(benchmark: ModuleType) -> None:
    """What cgback numbers anew in each piece of chain is read in order all the same."""
    peers = sys.modules["backmapping_peers"]
    chains, native = peptide("GAVS")
    gapped = dataclasses.replace(chains, joined=torch.tensor([True, False, True, False]))
    text = peers._ca_pdb(gapped, native[:, 1])
    assert [row[:4].strip() for row in text.split("\n")] == ["ATOM", "ATOM", "TER", "ATOM", "ATOM", "TER", "END", ""]


@pytest.mark.parametrize("method", ["cgback M", "pulchra", "pulchra, CA kept"])
def test_peers(benchmark: ModuleType, method: str, tmp_path: Path) -> None:
    """Peers rebuild a helix, all heavy atoms in their places of the table; what is kept is not made again."""
    peers = sys.modules["backmapping_peers"]
    if not peers.available(method):
        pytest.skip(f"{method} is not installed")
    whole, native = peptide("GAVSTIKDELAA")
    chains = dataclasses.replace(whole, joined=whole.joined & (torch.arange(12) != 5))
    case = sys.modules["backmapping_cases"].Case("helix", "target", chains, native)
    methods = sys.modules["backmapping_methods"]
    made = methods.make(method, case, 1, None, tmp_path)
    measures = assess(chains, made.positions, native)
    assert measures["rmsd_backbone"] < 1.5
    assert measures["ideal_bonds"] > 90.0
    assert made.seconds[0] > 0.0
    again = methods.make(method, case, 1, None, tmp_path)
    assert torch.equal(again.positions, made.positions)
    assert again.seconds[0] == made.seconds[0]


def test_messages(
    benchmark: ModuleType, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(benchmark, monkeypatch, "--data", data, "--methods", "fastest")
    assert "`--methods`: expected some of native, flashmd" in capsys.readouterr().err
    peers = sys.modules["backmapping_peers"]
    monkeypatch.setattr(peers, "available", lambda method: False)
    with pytest.raises(SystemExit):
        run(benchmark, monkeypatch, "--data", data, "--methods", "pulchra")
    assert "pip install flashmd-cg[bench]" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(benchmark, monkeypatch, "--data", data, "--methods", "native", "--only-kept")
    assert "`--only-kept`: expected a folder in `--keep`" in capsys.readouterr().err


def test_a_peer_that_fails_is_reported(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    peers = sys.modules["backmapping_peers"]
    monkeypatch.setitem(peers.COMMANDS, "broken", ("false", "{trace}"))
    monkeypatch.setattr(peers, "_program", lambda method: Path("/bin/false"))
    chains, native = peptide("GAG")
    with pytest.raises(RuntimeError, match="`broken`: expected exit status 0, got 1"):
        peers.run("broken", chains, native[:, 1], 1)


@pytest.fixture
def coherence(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES / "benchmarks"))
    for name in ("backmapping_coherence", "machine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("backmapping_coherence")


def model(path: Path, positions: torch.Tensor) -> str:
    """Return a model of the atoms of a PDB file at other positions, nm."""
    rows = [row for row in path.read_text().splitlines() if row.startswith("ATOM")]
    moved = ("".join(f"{10 * x:8.3f}" for x in place.tolist()) for place in positions)
    return "\n".join(["MODEL", *(f"{a[:30]}{b}{a[54:]}" for a, b in zip(rows, moved, strict=True)), "ENDMDL", ""])


def steps(printed: str) -> dict[str, float]:
    """Return the first column of the table of steps."""
    return {row[:18].strip(): float(row[18:36]) for row in printed.splitlines()[2:]}


@pytest.fixture
def along_a_drift(
    coherence: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, float]:
    """Steps of side chains, A, while the trace moves by hundredths of an Angstrom from frame to frame."""
    trace = read_trace(coherence.NATIVE)
    ca = next(trace.frames()).positions[0, :, 1]
    drift = 0.001 * torch.randn(ca.shape, generator=torch.Generator().manual_seed(1))
    path = tmp_path / "coarse.pdb"
    path.write_text("".join(model(coherence.NATIVE, ca + frame * drift) for frame in range(12)))
    assert run(coherence, monkeypatch, "--coarse", coherence.NATIVE, path, "--frames", 12) == 0
    return steps(capsys.readouterr().out)


def test_noise_that_lasts_keeps_side_chains(coherence: ModuleType, along_a_drift: dict[str, float]) -> None:
    found = along_a_drift
    assert list(found) == list(coherence.KINDS)
    assert found["shared"] < 0.2 * found["none"]
    assert found["shared"] < found["ou, 100 frames"] < found["ou, 10 frames"] < found["none"]


@pytest.mark.xfail(strict=True, reason="the shipped weights move side chains by 0.13 A with shared noise")
def test_shared_noise_moves_side_chains_with_the_trace_only(along_a_drift: dict[str, float]) -> None:
    assert along_a_drift["shared"] < 0.1


def test_steps_of_all_atoms(
    coherence: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over 4 fs atoms move, but less than side chains that are drawn anew."""
    pytest.importorskip("openmm", reason="OpenMM is not installed")
    monkeypatch.setattr(coherence, "EQUILIBRATION", 0.1)
    assert run(coherence, monkeypatch, "--frames", 12, "--interval", 0.004) == 0
    found = steps(capsys.readouterr().out)
    assert list(found) == ["all atoms", *coherence.KINDS]
    assert 0.0 < found["all atoms"] < found["none"]


def test_regions_of_ramachandran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All residues of a helix are in one bin, which is all that its class allows."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "data_generation"))
    module = importlib.import_module("ramachandran")
    write_npz(tmp_path / "chains.npz", SEQUENCE)
    counts, n_chains = module.count(tmp_path / "chains.npz")
    general = np.array([[int(digit, 16) for digit in row] for row in module.rows_of(module.region(counts[0]))])
    # phi -65 lies in bin 11, psi -45 in bin 13, the second bit of the fourth digit.
    assert np.argwhere(general).tolist() == [[11, 3]]
    assert general.max() == 4
    assert n_chains == 1
    assert counts[0].sum() + counts[1].sum() == len(SEQUENCE) - 2
    with pytest.raises(SystemExit, match="expected some of each class, got no proline, before proline"):
        run(module, monkeypatch, tmp_path / "chains.npz", tmp_path / "table.py")


def test_the_table_of_ramachandran_regions_is_what_the_script_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One residue of each class in one bin: the module that is written has one bit in each class."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "data_generation"))
    module = importlib.import_module("ramachandran")
    counts = np.zeros((4, 36, 36))
    counts[:, 7, 5] = 10.0
    monkeypatch.setattr(module, "count", lambda path: (counts, 3))
    assert run(module, monkeypatch, "chains.npz", tmp_path / "table.py") == 0
    namespace: dict[str, dict[str, tuple[str, ...]]] = {}
    exec((tmp_path / "table.py").read_text(), namespace)
    assert list(namespace["REGIONS"]) == list(ramachandran.CLASSES)
    for rows in namespace["REGIONS"].values():
        assert rows[7] == "040000000"
        assert set(rows[:7] + rows[8:]) == {"000000000"}
