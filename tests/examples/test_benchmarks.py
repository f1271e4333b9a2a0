"""The benchmarks on tiny batches: what they write, what they refuse, and that all contestants compute the same."""

from __future__ import annotations

import csv
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from flashmd.nn import SchNet, SchNetConfig
from flashmd.ops import neighbor_list
from flashmd.potential import SchNetPotential
from flashmd.system import System

FOLDER = Path(__file__).parents[2] / "examples" / "benchmarks"
NAMES = (
    "workloads", "contestants", "machine", "results", "figures", "timing", "options", "peak_memory", "peer_pyg",
    "peer_torchmdnet", "potential", "scaling", "kernels", "roofline", "training_step",
)  # fmt: skip
TINY = ["--beads", "8", "--replicas", "1", "--rounds", "3", "--turn", "0.01"]
FLOAT32_ERROR = 1e-5  # of forces, relative to float64; sums of some hundred products round so

Import = Callable[[str], ModuleType]


@pytest.fixture
def script() -> Iterator[Import]:
    """Import a benchmark by name, fresh, and forget it afterwards; threads are put back."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        for name in NAMES:
            patch.delitem(sys.modules, name, raising=False)
        yield importlib.import_module
        for name in NAMES:
            sys.modules.pop(name, None)
    torch.set_num_threads(threads)


def run(module: ModuleType, *arguments: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, arguments)])
        assert module.main() == 0


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_comparison(script: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["compiled", "trainable", "reference", "reference-directed"]
    written, figure = tmp_path / "new" / "potential.csv", tmp_path / "potential.png"
    run(script("potential"), *TINY, "--contestants", *names, "--csv", written, "--figure", figure)
    rows = rows_of(written)
    assert [row["contestant"] for row in rows] == names
    for row in rows:
        assert (row["beads"], row["replicas"], row["edges"], row["failure"]) == ("8", "1", "56", "")
        seconds, peak = float(row["seconds_per_step"]), int(row["peak_bytes"])
        assert float(row["fastest"]) <= seconds <= float(row["slowest"])
        assert 1e-5 < seconds < 5.0
        assert 0 < peak < 200e6
        assert float(row["ns_per_day"]) == pytest.approx(4e-6 * 86400 / seconds, rel=1e-4)
        assert 0.0 < float(row["force_error"]) < FLOAT32_ERROR
        assert row["ratio_pyg"] == ""
        assert (row["threads"], row["device"], row["torch"]) == ("1", "cpu", torch.__version__)
        assert row["processor"]
        assert row["commit"]
        # The ratio is the median of ratios, each within one round, so it lies between those of the extremes.
        reference = rows[names.index("reference")]
        low = float(reference["fastest"]) / float(row["slowest"])
        high = float(reference["slowest"]) / float(row["fastest"])
        assert low * 0.999 <= float(row["ratio"]) <= high * 1.001
    assert float(rows[names.index("reference")]["ratio"]) == 1.0
    assert figure.stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert "56 directed edges" in printed
    assert f"torch {torch.__version__}" in printed


@pytest.mark.parametrize(
    ("option", "reason"),
    [(["--memory-limit", "0.001"], "needed more than 0.0 GiB"), (["--time-limit", "0.01"], "took longer than 0.01 s")],
)
def test_contestants_beyond_a_limit_are_listed(
    script: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str], reason: str
) -> None:
    written, figure = tmp_path / "potential.csv", tmp_path / "potential.png"
    run(script("potential"), *TINY, "--contestants", "reference", *option, "--csv", written, "--figure", figure)
    (row,) = rows_of(written)
    assert reason in row["failure"]
    assert row["seconds_per_step"] == row["peak_bytes"] == row["ns_per_day"] == ""
    assert f"not measured: {reason}" in capsys.readouterr().out
    assert figure.is_file()


@pytest.mark.parametrize("name", ["torch_geometric", "torchmdnet"])
def test_a_missing_package_is_named(script: Import, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    contestants = script("contestants")
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "warp", None)
    short = {"torch_geometric": "pyg", "torchmdnet": "torchmdnet"}[name]
    with pytest.raises(contestants.UnavailableError, match=rf"{name}.*expected installed.*pip install"):
        contestants.make(short, *small_case())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--contestants", "fast"], r"`--contestants`: expected some of .*reference.*got 'fast'"),
        (["--beads", "49", "1"], "`--beads`: expected at least 2, got 1"),
        (["--replicas", "0"], "`--replicas`: expected at least 1, got 0"),
        (["--rounds", "0"], "`--rounds`: expected at least 1, got 0"),
        (["--threads", "0"], rf"`--threads`: expected 1 to {len(os.sched_getaffinity(0))}"),
        (["--device", "tpu"], "`--device`: expected cpu or cuda, got 'tpu'"),
    ],
)
def test_bad_arguments(script: Import, capsys: pytest.CaptureFixture[str], words: list[str], text: str) -> None:
    with pytest.raises(SystemExit) as error:
        run(script("potential"), *words)
    assert re.search(text, f"{error.value.code} {capsys.readouterr().err}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device(script: Import) -> None:
    with pytest.raises(SystemExit, match="`--device`: expected a CUDA device, got none"):
        run(script("potential"), "--device", "cuda")


def test_scaling(script: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written, figure = tmp_path / "scaling.csv", tmp_path / "scaling.png"
    sizes = ["--beads", 6, 12, "--replicas", 1, 2, 4, "--threads", 1, 1]
    short = ["--contestant", "reference", "--rounds", 3, "--turn", 0.005]
    run(script("scaling"), *sizes, *short, "--csv", written, "--figure", figure)
    rows = rows_of(written)
    assert [(row["beads"], row["replicas"]) for row in rows] == [(n, r) for n in ("6", "12") for r in ("1", "2", "4")]
    # Every pair of so small a molecule is within the cutoff.
    assert [int(row["pairs"]) for row in rows] == [15, 30, 60, 66, 132, 264]
    for row in rows:
        assert float(row["fastest"]) <= float(row["seconds_per_step"]) <= float(row["slowest"])
        assert float(row["speedup"]) == 1.0
        assert (row["threads"], row["contestant"], row["device"]) == ("1", "reference", "cpu")
    assert figure.stat().st_size > 10_000
    assert re.search(r"1 thread, 12 beads: time grows as replicas to the power -?0\.\d\d", capsys.readouterr().out)


def test_training_step(script: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module, written = script("training_step"), tmp_path / "training_step.csv"
    run(module, "--beads", 12, "--rounds", 3, "--turn", 0.005, "--csv", written)
    rows = rows_of(written)
    assert [row["contestant"] for row in rows] == list(module.CONTESTANTS)
    for row in rows:
        # Every pair of so small a molecule is within the cutoff.
        assert (row["beads"], row["frames"], row["pairs"]) == ("12", "1", "66")
        assert float(row["fastest"]) <= float(row["seconds_per_step"]) <= float(row["slowest"])
        assert 0 < int(row["peak_bytes"]) < 200e6
        assert float(row["gradient_error"]) < 1e-4
    assert float(rows[0]["ratio"]) == 1.0
    assert "12 beads, 1 frames, 66 pairs, 769 knots" in capsys.readouterr().out


def test_exponent_of_a_power_law(script: Import) -> None:
    assert script("figures").exponent([1, 4, 16], [3.0, 6.0, 12.0]) == pytest.approx(0.5)


def test_scaling_refuses_an_unknown_contestant(script: Import, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(script("scaling"), "--contestant", "fast")
    assert "`--contestant`: expected some of compiled" in capsys.readouterr().err


def test_roofline(
    script: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the machine's rates given, bounds are those counted by hand: 128 filters, 4 blocks, 20 beads, 2 replicas."""
    module, written = script("roofline"), tmp_path / "roofline.csv"
    rates = module.Rates(operations=1e9, memory=1e9, cache=1e9)
    monkeypatch.setattr(module, "measure_rates", lambda: rates)
    run(module, "--beads", 20, "--replicas", 2, "--rounds", 2, "--csv", written)
    rows = {row["kernel"]: row for row in rows_of(written)}
    pairs = 2 * 190
    # Plain PyTorch reads and writes 52 arrays; tables need 7/4 convolutions and a slope for each block.
    expected = {
        "plain PyTorch": (4 * pairs, 4 * (64 * 128 + 128 * 128) + 20 * 128),
        "compiled: node layers": (40, 4 * (11 * 128 * 128 + 128 * 128 + 128 * 64 + 64)),
        "compiled: pairs": (4 * pairs, 128 * (7 * 24 + 4 * 24) / 4),
        "training by table: forward": (pairs, 128 * 24),
        "training by table: backward": (pairs, 128 * 32),
        "training exactly: forward": (pairs, 2 * (64 * 128 + 128 * 128) + 4 * 128),
        "training exactly: backward": (pairs, 6 * (64 * 128 + 128 * 128) + 10 * 128),
        "neighbour search": (pairs, 48),
        "compiled: repulsion": (pairs, 80),
    }
    assert set(rows) == set(expected)
    for name, (units, largest) in expected.items():
        row = rows[name]
        assert int(row["units"]) == units
        assert float(row["bound_seconds"]) == pytest.approx(units * largest * 1e-9, rel=1e-5)
        assert float(row["fraction"]) == pytest.approx(float(row["bound_seconds"]) / float(row["seconds"]), rel=1e-4)
    assert "compiled: pairs" in capsys.readouterr().out


def test_rates_of_the_machine(script: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("roofline")
    for name, value in {"MATRIX": 64, "LARGE": 2**12, "REPEATS": 3}.items():
        monkeypatch.setattr(module, name, value)
    rates = module.measure_rates()
    assert min(rates.operations, rates.memory, rates.cache) > 1e6


def small_case() -> tuple[SchNet, System]:
    """Two molecules of different sizes, apart from each other, and a network with all weights random."""
    generator = torch.Generator().manual_seed(3)
    parts = [
        System.single(0.8 * torch.rand(n, 3, generator=generator), torch.randint(5, (n,), generator=generator))
        for n in (9, 6)
    ]
    network = SchNet(
        SchNetConfig(n_types=5, n_channels=24, n_filters=16, n_basis=12, n_blocks=2, cutoff_upper=0.6, readout=(8,))
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network, System.concatenate(parts)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("trainable", "torch"),
        ("reference", "torch"),
        ("reference-directed", "torch"),
        ("pyg", "torch_geometric"),
        ("torchmdnet", "torchmdnet"),
    ],
)
def test_contestants_agree(script: Import, name: str, package: str) -> None:
    """Energies and forces are those of the network in float64, to the precision of float32."""
    pytest.importorskip(package, reason=f"{package} is not installed", exc_type=ImportError)
    network, system = small_case()
    exact = SchNetPotential(SchNet(network.config).double())
    exact.network.load_state_dict(network.state_dict())
    expected = exact.evaluate(system.to(dtype=torch.float64))
    got = script("contestants").make(name, network, system)(system)
    torch.testing.assert_close(got.energy, expected.energy, rtol=1e-6, atol=1e-6)
    error = (got.forces - expected.forces).norm() / expected.forces.norm()
    assert error < FLOAT32_ERROR
    # The weights that all contestants share stay trainable.
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_globule_is_a_chain_at_protein_density(script: Import) -> None:
    workloads = script("workloads")
    chain = workloads.globule(269)
    np.testing.assert_array_equal(chain, workloads.globule(269))
    np.testing.assert_allclose(np.linalg.norm(np.diff(chain, axis=0), axis=1), workloads.BOND, rtol=1e-12)
    distance = np.linalg.norm(chain[:, None] - chain[None], axis=2)
    assert distance[np.triu_indices(269, 1)].min() > workloads.CONTACT
    system = workloads.build_system(269, 2)
    assert system.n_systems == 2
    assert neighbor_list(system, 1.5).n_edges == pytest.approx(2 * 44_000, rel=0.02)


def test_motion_is_thermal_and_repeatable(script: Import) -> None:
    workloads = script("workloads")
    start = workloads.build_system(20, 50)
    first, second = workloads.Motion(start), workloads.Motion(start)
    for _ in range(500):
        system = first.step()
    moved = (system.positions - start.positions).square().mean().sqrt().item()
    assert moved == pytest.approx((8.314462618e-3 * workloads.TEMPERATURE / workloads.SPRING) ** 0.5, rel=0.1)
    for _ in range(500):
        again = second.step()
    assert torch.equal(again.positions, system.positions)
