"""What the importer translates and what it refuses, on files that the tests write themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from flashmd.errors import CheckpointError
from flashmd.potential import SchNetPotential, SumPotential
from flashmd.potential.mlcg_import import load_any, load_configurations, load_model
from flashmd.potential.priors import FourierDihedrals
from flashmd.system import System
from flashmd.units import ANGSTROM, KCAL
from tests import mlcg_models as models
from tests.mlcg_files import Described, configuration, module, write
from tests.parity import reference_mlcg as reference

BONDS = {"bonds": models.consecutive(2)}


def _child(described: Described, path: str) -> Described:
    for name in path.split("."):
        described = described.state["_modules"][name]
    return described


def _bonds(**replaced: Any) -> Described:
    rng = models.generator(1)
    buffers = {"k": models.dense(2, rng, 20.0, 80.0), "x_0": models.dense(2, rng, 3.6, 4.0)}
    attributes = {"name": "bonds", **{key: value for key, value in replaced.items() if key != "buffers"}}
    return module("mlcg.nn.prior.HarmonicBonds", buffers=buffers | replaced.get("buffers", {}), **attributes)


def test_forms_of_a_model(tmp_path: Path) -> None:
    network, bonds = models.schnet(), _bonds()
    frames = models.configurations(BONDS)
    table = module("torch.nn.modules.container.ModuleDict", modules={"bonds": models.wrapped("bonds", bonds)})
    energies = {}
    for name, content in {
        "sum": (models.summed({"SchNet": network, "bonds": bonds}), frames),
        "wrapper": models.wrapped("SchNet", network),
        "bare": network,
        "priors": table,
        "lightning": {"state_dict": {}, "hyper_parameters": {"model": models.wrapped("SchNet", network)}},
    }.items():
        if name == "lightning":
            content["state_dict"] = _prefixed(content["hyper_parameters"]["model"], "model.")
        imported = load_any(write(tmp_path / f"{name}.pt", content))
        assert imported.model is not None
        energies[name] = imported.model
    assert isinstance(energies["sum"], SumPotential)
    assert isinstance(energies["bare"], SchNetPotential)
    system = load_configurations(tmp_path / "sum.pt")[0]
    terms = energies["sum"].terms(system)
    for name in ("wrapper", "bare", "lightning"):
        assert energies[name].energy(system).item() == terms["SchNet"].item()
    assert energies["priors"].energy(system).item() == pytest.approx(terms["bonds"].item(), rel=1e-14)


def _prefixed(described: Described, prefix: str) -> dict[str, Any]:
    state = {}
    for table in ("_parameters", "_buffers"):
        state |= {prefix + k: v for k, v in described.state[table].items() if v is not None}
    for name, child in described.state["_modules"].items():
        state |= _prefixed(child, f"{prefix}{name}.")
    return state


def test_trained_weights_of_a_checkpoint_replace_the_described_ones(tmp_path: Path) -> None:
    start, trained = models.wrapped("SchNet", models.schnet(seed=1)), models.wrapped("SchNet", models.schnet(seed=2))
    state = _prefixed(trained, "model.") | {"loss.weights": torch.ones(1)}
    content = {"state_dict": state, "hyper_parameters": {"model": start}, "epoch": 3}
    imported = load_model(write(tmp_path / "train.ckpt", content))
    expected = load_model(write(tmp_path / "model.pt", trained))
    for name, value in imported.state_dict().items():
        assert torch.equal(value, expected.state_dict()[name])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda c: c.pop("hyper_parameters"), "cutoffs are not part of a state dictionary"),
        (lambda c: c["state_dict"].pop("model.model.rbf_layer.means"), "an entry `model.rbf_layer.means`, got none"),
        (lambda c: c["state_dict"].update({"model.more": torch.ones(1)}), "got an entry `more` more"),
        (
            lambda c: c["state_dict"].update({"model.model.rbf_layer.means": torch.ones(2)}),
            r"state_dict.model.rbf_layer.means`: expected shape \(9,\)",
        ),
    ],
)
def test_incomplete_training_checkpoints(change: Any, found: str, tmp_path: Path) -> None:
    described = models.wrapped("SchNet", models.schnet())
    content = {"state_dict": _prefixed(described, "model."), "hyper_parameters": {"model": described}}
    change(content)
    with pytest.raises(CheckpointError, match=found):
        load_any(write(tmp_path / "train.ckpt", content))


def test_units(tmp_path: Path) -> None:
    table = torch.tensor([[0.0, 0.0], [0.0, 3.0]])
    lists = {"bonds": torch.tensor([[0, 1]])}
    bonds = module("mlcg.nn.prior.HarmonicBonds", buffers={"k": 2 * table, "x_0": table}, name="bonds")
    frame = configuration(
        torch.tensor([[0.0, 0, 0], [5, 0, 0]]), torch.ones(2, dtype=torch.int64), lists, torch.tensor([12.0, 14.0])
    )
    imported = load_any(write(tmp_path / "model.pt", (bonds, [frame])))
    assert imported.model is not None
    (system,) = imported.systems
    assert system.positions[1, 0].item() == pytest.approx(0.5, rel=1e-15)
    assert system.masses.tolist() == [12.0, 14.0]
    # 6 kcal/mol/A^2 (5 A - 3 A)^2 = 24 kcal/mol; the force is 24 kcal/mol/A.
    result = imported.model.evaluate(system)
    assert result.energy.item() == pytest.approx(24 * KCAL, rel=1e-14)
    assert result.forces[0, 0].item() == pytest.approx(24 * KCAL / ANGSTROM, rel=1e-14)


def test_scaled_masses_become_dalton(tmp_path: Path) -> None:
    system = load_configurations(write(tmp_path / "c.pt", models.configurations({})))[0]
    torch.testing.assert_close(system.masses, torch.full((8,), 12.0, dtype=torch.float64), rtol=1e-15, atol=0)


def test_specialized_priors_split_terms_of_equal_types(tmp_path: Path) -> None:
    # Two bonds between types 1 and 2 with different parameters need two lists.
    lists = {"bonds": torch.tensor([[0, 1], [1, 2], [2, 3]]), "dihedrals": torch.tensor([[0, 1, 2, 3]])}
    types = torch.tensor([1, 2, 1, 2])
    positions = torch.tensor([[0.0, 0, 0], [3.8, 0.1, 0], [5.0, 3.4, 0.2], [8.1, 4.0, 2.0]])
    frames = [configuration(positions, types, lists), configuration(1.1 * positions, types, lists)]
    x0, k = torch.tensor([3.0, 4.0, 3.5] * 2), torch.tensor([1.0, 2.0, 5.0] * 2)
    bonds = module(
        "mlcg.simulation.specialize_prior.StaticGeneralBonds", buffers={"x_0": x0, "k": k, "V0": torch.zeros(6)}
    )
    series = {"k1s": torch.tensor([[0.5, 0.2]] * 2), "k2s": torch.tensor([[0.1, -0.7]] * 2)}
    dihedral = module(
        "mlcg.simulation.specialize_prior.StaticDihedral",
        buffers=series | {"v_0": torch.tensor([[0.3, 0.0]] * 2)},
    )
    bonds.state["_buffers"]["x0"] = bonds.state["_buffers"].pop("x_0")
    content = (models.summed({"bonds": bonds, "dihedrals": dihedral}), frames)
    imported = load_any(write(tmp_path / "model.pt", content))
    assert imported.model is not None
    for system, frame in zip(imported.systems, (positions, 1.1 * positions), strict=True):
        assert sorted(system.interactions) == ["bonds", "bonds_2", "dihedrals"]
        x = frame.double().numpy()
        lengths = [reference.coordinate("distance", x[[i, i + 1]]) for i in range(3)]
        expected = sum(float(k[i]) * (lengths[i] - float(x0[i])) ** 2 for i in range(3))
        expected += reference.fourier(
            reference.coordinate("torsion", x),
            {"k1s": series["k1s"][0].double().numpy(), "k2s": series["k2s"][0].double().numpy(), "v_0": 0.3},
        )
        imported.model.check(system)
        assert imported.model.energy(system).item() == pytest.approx(KCAL * expected, rel=1e-7)
    assert isinstance(imported.model.get_submodule("potentials.dihedrals"), FourierDihedrals)


@pytest.mark.parametrize(
    ("buffers", "found"),
    [
        ({"x0": torch.ones(5), "k": torch.ones(5)}, r"x0|k`: expected one number for each of 3 terms"),
        ({"x0": torch.ones(3), "k": torch.ones(3), "V0": torch.ones(3)}, "V0`: expected zeros"),
        ({"x0": torch.ones(3), "k": torch.full((3,), torch.nan)}, "finite parameters, got 3"),
    ],
)
def test_specialized_priors_that_do_not_fit(buffers: dict[str, Any], found: str, tmp_path: Path) -> None:
    lists = {"bonds": torch.tensor([[0, 1], [1, 2], [2, 3]])}
    frame = configuration(torch.rand(4, 3), torch.ones(4, dtype=torch.int64), lists)
    prior = module("mlcg.simulation.specialize_prior.StaticGeneralBonds", buffers=buffers)
    content = (models.wrapped("bonds", prior), [frame])
    with pytest.raises(CheckpointError, match=found):
        load_any(write(tmp_path / "model.pt", content))
    with pytest.raises(CheckpointError, match="configurations with a list `bonds` in the same file"):
        load_any(write(tmp_path / "alone.pt", models.wrapped("bonds", prior)))


def _spoil(path: str, table: str, name: str, value: Any) -> Any:
    def change(network: Described) -> None:
        target = _child(network, path) if path else network
        target.state[table][name] = value

    return change


def _set(path: str, name: str, value: Any) -> Any:
    def change(network: Described) -> None:
        (_child(network, path) if path else network).state[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_spoil("", "_modules", "attention", module("mlcg.nn.Attention")), "model.attention`.*`mlcg.nn.Attention`"),
        (_spoil("", "_modules", "rbf_layer", module("mlcg.nn.RIGTOBasis")), "model.rbf_layer`.*`mlcg.nn.RIGTOBasis`"),
        (_spoil("", "_modules", "output_network", module("mlcg.nn.TypesMLP")), "unknown module `mlcg.nn.TypesMLP`"),
        (_spoil("embedding_layer", "_parameters", "weight", None), "a dense tensor, got none"),
        (
            _spoil("embedding_layer", "_parameters", "weight", torch.full((6, 10), torch.nan)),
            "embedding_layer.weight`: expected finite parameters, got 60",
        ),
        (_spoil("rbf_layer", "_buffers", "means", torch.linspace(0.2, 1, 9)), "that belong to cutoffs 0 and 12"),
        (_set("rbf_layer", "alpha", 1.0), r"rbf_layer.alpha`: expected 5 / \(cutoff_upper - cutoff_lower\)"),
        (_set("rbf_layer.cutoff", "cutoff_upper", 9.0), "cutoffs 0.0 and 9.0 as in the basis"),
        (_set("rbf_layer.cutoff", "cutoff_upper", "12"), "a finite number, got '12'"),
        (_set("rbf_layer.cutoff", "cutoff_lower", 20.0), "0 <= cutoff_lower < cutoff_upper"),
        (_set("interaction_blocks.0.conv", "aggr", "mean"), "the sum over neighbours, got 'mean'"),
        (_set("", "self_interaction", True), "self_interaction`: expected False"),
        (
            _spoil("interaction_blocks.1", "_modules", "activation", module("torch.nn.modules.activation.SiLU")),
            "one activation of Tanh, SiLU, got torch.nn.modules.activation.SiLU, torch.nn.modules.activation.Tanh",
        ),
        (
            _spoil("interaction_blocks.0.conv.lin1", "_parameters", "bias", torch.ones(7)),
            "lin1.bias`: expected no bias",
        ),
        (
            _spoil("output_network.layers.4", "_parameters", "bias", torch.ones(1)),
            "no bias in the last layer",
        ),
        (
            _spoil("interaction_blocks.0.lin", "_parameters", "weight", torch.ones(3, 10)),
            r"`blocks.0.update.weight` of shape \(10, 10\), got \(3, 10\)",
        ),
        (_spoil("interaction_blocks", "_modules", "0", 7), "interaction_blocks.0`: expected a module, got 7"),
    ],
)
def test_networks_that_have_no_counterpart(change: Any, found: str, tmp_path: Path) -> None:
    network = models.schnet()
    change(network)
    with pytest.raises(CheckpointError, match=found):
        load_any(write(tmp_path / "model.pt", network))


NAN = torch.full((6, 6), torch.nan)


@pytest.mark.parametrize(
    ("prior", "found"),
    [
        (_bonds(buffers={"k": NAN}), "model.k`: expected finite parameters, got 36 that are not finite"),
        (_bonds(buffers={"k": None}), "a buffer `k`, got `mlcg.nn.prior.HarmonicBonds` without it"),
        (_bonds(buffers={"v_0": torch.ones(6, 6)}), "model.v_0`: expected buffers k, x_0"),
        (_bonds(buffers={"more": torch.ones(6, 6)}), "model.more`: expected buffers k, x_0"),
        (_bonds(buffers={"k": torch.ones(6)}), "a table over 2 bead types, got 1 axes"),
        (_bonds(buffers={"k": torch.ones(6, 6, dtype=torch.int64)}), "floating-point numbers, got torch.int64"),
        (_bonds(allowed_interaction_keys=[(1, 2, 3)]), "tuples of 2 types"),
        (_bonds(allowed_interaction_keys=[(1, 77)]), r"tuples inside a table of \(6, 6\), got \[1, 77\]"),
        (_bonds(allowed_interaction_keys=[(1, -1)]), "tuples of 2 types"),
        (module("mlcg.nn.prior.CutoffRepulsion", buffers={"sigma": NAN[:2, :2] * 0}), "finite parameters"),
        (
            module("mlcg.nn.prior.CutoffRepulsion", buffers={"sigma": torch.ones(2, 2)}, cutoff=-1.0),
            "parameters of CutoffRepulsion",
        ),
        (module("mlcg.nn.prior.CutoffRepulsion", buffers={"sigma": torch.ones(2, 2)}), "cutoff`: expected a finite"),
        (module("mlcg.nn.prior.LennardJonesShifted"), "a known energy, got an unknown module `mlcg.nn.prior.Lennard"),
        (module("torch.nn.modules.linear.Linear"), "unknown module `torch.nn.modules.linear.Linear`"),
        (module("numpy.HarmonicBonds"), "unknown module `numpy.HarmonicBonds`"),
    ],
)
def test_priors_that_have_no_counterpart(prior: Described, found: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=found):
        load_any(write(tmp_path / "model.pt", models.wrapped("bonds", prior)))


def test_path_of_an_unknown_module_is_named(tmp_path: Path) -> None:
    content = models.summed({"SchNet": models.schnet(), "extra": module("mlcg.nn.pymace.MACE")})
    with pytest.raises(
        CheckpointError, match=r"`model\.models\.extra\.model`: .* an unknown module `mlcg\.nn\.pymace\.MACE`"
    ):
        load_any(write(tmp_path / "model.pt", content))


def _frame(**replaced: Any) -> Described:
    frame = models.configurations(BONDS)[0]
    frame.state["_store"].state["_mapping"].update(replaced)
    return frame


def _list(**replaced: Any) -> dict[str, Any]:
    return {"bonds": {"order": 2, "index_mapping": models.consecutive(2).T.contiguous(), "rcut": None} | replaced}


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (_frame(pos=torch.zeros(8, 2)), r"configurations\[0\]\.pos`: expected positions of shape \(n, 3\)"),
        (_frame(pos=torch.full((8, 3), torch.inf)), "pos`: expected finite parameters"),
        (_frame(atom_types=torch.zeros(7, dtype=torch.int64)), "8 integer types"),
        (_frame(atom_types=-torch.ones(8, dtype=torch.int64)), "types from 0, got -1"),
        (_frame(n_atoms=torch.tensor([4, 4])), "one system of 8 beads"),
        (_frame(masses=torch.linspace(0.01, 30, 8)), "all masses in Da, or all in"),
        (_frame(masses=torch.zeros(8)), "all masses in Da, or all in"),
        (_frame(pbc=torch.ones(3)), "a lattice, since `pbc` is set"),
        (_frame(pbc=torch.ones(2)), "one flag or three, got 2"),
        (_frame(cell=torch.ones(2)), "three lattice vectors"),
        (_frame(neighbor_list=[1]), "named lists"),
        (_frame(neighbor_list={"bonds": 1}), "a list with an `index_mapping`"),
        (_frame(neighbor_list=_list(order=3)), r"int64 indices of shape \(3, n\)"),
        (_frame(neighbor_list=_list(index_mapping=torch.tensor([[0], [8]]))), "beads 0 to 7, got 0 to 8"),
        (_frame(neighbor_list=_list(cell_shifts=torch.ones(7, 3))), "terms inside one image"),
        (Described("mlcg.data.atomic_data.AtomicData", {}), "a configuration"),
    ],
)
def test_configurations_that_are_refused(frame: Described, found: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=found):
        load_any(write(tmp_path / "configurations.pt", [frame]))


def test_box_and_network_lists(tmp_path: Path) -> None:
    lists = _list() | {"SchNet": {"order": 2, "index_mapping": torch.zeros(2, 9, dtype=torch.int64), "rcut": 12.0}}
    frame = _frame(
        cell=torch.diag(torch.tensor([30.0, 40.0, 50.0]))[None], pbc=torch.tensor([1, 1, 0]), neighbor_list=lists
    )
    (system,) = load_configurations(write(tmp_path / "c.pt", [frame]))
    torch.testing.assert_close(system.cell[0], torch.diag(torch.tensor([3.0, 4.0, 5.0], dtype=torch.float64)))
    assert system.pbc.tolist() == [[True, True, False]]
    assert list(system.interactions) == ["bonds"]


def test_files_of_the_other_kind(tmp_path: Path) -> None:
    frames = write(tmp_path / "c.pt", models.configurations({}))
    network = write(tmp_path / "model.pt", models.schnet())
    with pytest.raises(CheckpointError, match="expected a model, got none"):
        load_model(frames)
    with pytest.raises(CheckpointError, match="expected configurations, got none"):
        load_configurations(network)
    with pytest.raises(CheckpointError, match="one model, configurations, or both, got 2 models"):
        load_any(write(tmp_path / "two.pt", [models.schnet(), models.schnet()]))
    with pytest.raises(CheckpointError, match=r"got a table of \['pos', 'velocities'\]"):
        load_any(write(tmp_path / "table.pt", {"pos": torch.zeros(2, 3), "velocities": torch.zeros(2, 3)}))


def test_restart_file_places_the_configurations(tmp_path: Path) -> None:
    x, v = torch.arange(12.0).view(4, 3), torch.linspace(-1.0, 1.0, 12).view(4, 3)
    state = load_any(write(tmp_path / "r.pt", {"pos": x, "velocities": v, "current_timestep": 5, "log_interval": 2}))
    assert state.model is None
    assert state.systems == []
    assert state.restart is not None
    assert state.restart.step == 5
    torch.testing.assert_close(state.restart.positions, 0.1 * x.double())
    torch.testing.assert_close(state.restart.velocities, 0.1 * v.double(), rtol=1e-6, atol=0.0)
    bare = System.single(torch.zeros(2, 3), torch.tensor([1, 2]))
    placed = state.restart.place([bare, bare])
    torch.testing.assert_close(torch.cat([s.positions for s in placed]), 0.1 * x)
    with pytest.raises(CheckpointError, match=r"the restart file: expected configurations of 4 beads in all, got 2"):
        state.restart.place([bare])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"pos": torch.zeros(2)}, r"pos`: expected positions of shape \(n, 3\)"),
        ({"velocities": torch.zeros(3, 3)}, r"velocities"),
        ({"velocities": 3}, r"velocities`: expected a tensor"),
        ({"current_timestep": "x"}, r"current_timestep`: expected a number of steps"),
        ({"pos": torch.full((2, 3), float("nan"))}, r"pos"),
    ],
)
def test_damaged_restart_files_are_refused(tmp_path: Path, change: dict, text: str) -> None:
    content = {"pos": torch.zeros(2, 3), "velocities": torch.zeros(2, 3), "current_timestep": 5} | change
    with pytest.raises(CheckpointError, match=text):
        load_any(write(tmp_path / "r.pt", content))


def test_molecules_of_one_file_share_the_names_of_their_lists(tmp_path: Path) -> None:
    both = [*models.configurations({"bonds": models.consecutive(2)}), *models.configurations({})]
    systems = load_any(write(tmp_path / "c.pt", both)).systems
    assert [tuple(s.interactions["bonds"].shape) for s in systems] == [(len(models.TYPES) - 1, 2)] * (
        len(systems) // 2
    ) + [(0, 2)] * (len(systems) // 2)
    assert System.concatenate(systems).n_systems == len(systems)
