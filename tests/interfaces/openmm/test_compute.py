"""The function behind a PythonForce: threads, copies, what it stores, and what it says when something is wrong."""

from __future__ import annotations

import copy
import pickle
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import openmm
import pytest
import torch

from flashmd.errors import CheckpointError, EvaluationError, MissingDependencyError, NonFiniteForceError
from flashmd.interfaces.model import LoadedModel, open_model
from flashmd.interfaces.openmm import PotentialCompute, coarse_grain, create_force, create_system, last_exception
from flashmd.interfaces.openmm import engine as engine_module
from flashmd.interfaces.openmm.particles import Molecule
from flashmd.potential import save

from .build import (
    NATIVE,
    TRICLINIC,
    context_of,
    evaluated,
    network,
    particles_with,
    positions_of,
    symbols_of,
    topology_of,
)


def compute_of(model: LoadedModel, n_atoms: int = 8, box: object = None) -> PotentialCompute:
    molecule = Molecule.of(topology_of(symbols_of(n_atoms), box), None)
    return PotentialCompute(model, molecule, periodic=box is not None)


def water_box(model: LoadedModel, n_atoms: int = 20) -> openmm.System:
    return create_system(topology_of(symbols_of(n_atoms)), model, backend="python")


def test_several_contexts_in_one_thread_and_in_two(organic: LoadedModel) -> None:
    """Whoever asks in between, the same positions give the same bits."""
    system = water_box(organic)
    starts = [positions_of(20, seed=seed, spacing=0.22) for seed in range(3)]
    alone = [evaluated(context_of(water_box(organic), start)) for start in starts]
    contexts = [context_of(system, start) for start in starts]
    for _ in range(2):
        for context, expected in zip(contexts, alone, strict=True):
            got = evaluated(context)
            assert got[0] == expected[0]
            assert np.array_equal(got[1], expected[1])

    def run(context: openmm.Context) -> np.ndarray:
        context.getIntegrator().step(100)
        return context.getState(positions=True).getPositions(asNumpy=True)._value

    one_after_the_other = [run(context_of(water_box(organic), start)) for start in starts]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(run, contexts))
    assert all(np.array_equal(a, b) for a, b in zip(together, one_after_the_other, strict=True))


def test_threads_do_not_wait_for_each_other(organic: LoadedModel) -> None:
    compute = compute_of(organic)
    workers = []
    threads = [threading.Thread(target=lambda: workers.append(compute._worker())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert workers[0] is not workers[1]
    assert compute._worker() is compute._worker()


def test_history_of_the_list_does_not_matter(organic: LoadedModel) -> None:
    """A list that was built elsewhere, within the skin, gives the same bits."""
    near = positions_of(20)
    context = context_of(water_box(organic), near + 0.03)
    evaluated(context)
    context.setPositions(near)
    got, expected = evaluated(context), evaluated(context_of(water_box(organic), near))
    assert got[0] == expected[0]
    assert np.array_equal(got[1], expected[1])


def test_copies_and_xml(organic: LoadedModel) -> None:
    system, positions = water_box(organic), positions_of(20)
    expected = evaluated(context_of(system, positions))
    xml = openmm.XmlSerializer.serialize(system)
    assert len(xml) < 5000
    for other in (copy.deepcopy(system), openmm.XmlSerializer.deserialize(xml)):
        got = evaluated(context_of(other, positions))
        assert got[0] == expected[0]
        assert np.array_equal(got[1], expected[1])


def test_a_protein_travels_by_the_names_of_its_residues(chignolin: LoadedModel) -> None:
    topology, positions = coarse_grain(NATIVE)
    system = create_system(topology, chignolin, backend="python")
    xml = openmm.XmlSerializer.serialize(system)
    assert len(xml) < 4000
    again = openmm.XmlSerializer.deserialize(xml)
    assert evaluated(context_of(again, positions))[0] == evaluated(context_of(system, positions))[0]


def test_copies_share_the_open_model(organic: LoadedModel) -> None:
    again = pickle.loads(pickle.dumps(compute_of(organic, box=TRICLINIC)))
    assert again.model is organic
    assert again.periodic
    assert torch.equal(again.system.types, compute_of(organic).system.types)


def test_a_model_in_memory_travels_by_value() -> None:
    model = open_model(network(seed=3), dtype="float64")
    system, positions = water_box(model), positions_of(20)
    again = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    assert evaluated(context_of(again, positions))[0] == evaluated(context_of(system, positions))[0]


def test_a_changed_file_is_refused(model_file: Path) -> None:
    """OpenMM would crash if reading XML raised, so the first evaluation does."""
    system = create_system(topology_of(["O", "H"]), model_file, backend="python")
    xml = openmm.XmlSerializer.serialize(system)
    save(network(seed=1), model_file)
    changed = copy.deepcopy(openmm.XmlSerializer.deserialize(xml))
    text = r"model `model.safetensors` at step 0: model file `.*model.safetensors`: expected sha256 \w+, got \w+"
    with pytest.raises(openmm.OpenMMException, match=text):
        evaluated(context_of(changed, positions_of(2)))
    assert isinstance(last_exception(), CheckpointError)
    model_file.unlink()
    with pytest.raises(openmm.OpenMMException, match=r"at step 0: the model: expected a file or one of"):
        evaluated(context_of(openmm.XmlSerializer.deserialize(xml), positions_of(2)))


def test_custom_cv_force(organic: LoadedModel) -> None:
    positions = positions_of(8)
    topology = topology_of(symbols_of(8))
    plain = evaluated(context_of(particles_with(create_force(organic, topology, backend="python"), 8), positions))
    scaled = openmm.CustomCVForce("0.5 * model")
    scaled.addCollectiveVariable("model", create_force(organic, topology, backend="python"))
    energy, forces = evaluated(context_of(particles_with(scaled, 8), positions))
    assert energy == pytest.approx(0.5 * plain[0], rel=1e-12)
    np.testing.assert_allclose(forces, 0.5 * plain[1], rtol=1e-12)


def test_the_documented_way_to_read_positions(organic: LoadedModel) -> None:
    """Without the private functions of State, or with others behind their names, the public ones serve."""
    compute, states = compute_of(organic), []

    class Public:
        def __init__(self, state: openmm.State) -> None:
            self.getPositions, self.getStepCount = state.getPositions, state.getStepCount

    class Wrong(Public):
        def _getNumParticles(self) -> int:
            return 8

        def _getVectorAsNumpy(self, kind: object, output: np.ndarray) -> None:
            output[:] = 1.0

    def watch(state: openmm.State) -> tuple[float, np.ndarray]:
        for kind in (Public, Wrong, lambda each: each):
            fresh = compute_of(organic)
            states.append(fresh(kind(state)))
        return compute(state)

    evaluated(context_of(particles_with(openmm.PythonForce(watch), 8), positions_of(8)))
    assert [energy for energy, _ in states] == [states[0][0]] * len(states)
    assert all(np.array_equal(forces, states[0][1]) for _, forces in states)


def test_what_a_call_returns(organic: LoadedModel) -> None:
    """OpenMM takes nothing else without a conversion, or at all."""
    results = []
    compute = compute_of(organic)

    def watch(state: openmm.State) -> tuple[float, np.ndarray]:
        results.append(compute(state))
        return results[-1]

    with torch.inference_mode():
        context = context_of(particles_with(openmm.PythonForce(watch), 8), positions_of(8))
        first = evaluated(context)
    assert evaluated(context)[0] == first[0]
    energy, forces = results[0]
    assert type(energy) is float
    assert (forces.dtype, forces.shape, forces.flags.c_contiguous) == (np.dtype("float64"), (8, 3), True)


def test_a_system_of_other_size(organic: LoadedModel) -> None:
    force = create_force(organic, topology_of(symbols_of(8)), backend="python")
    context = context_of(particles_with(force, 9), positions_of(9))
    with pytest.raises(
        openmm.OpenMMException, match="particles of the force: expected 8, those of its topology, got 9"
    ):
        evaluated(context)


def test_a_system_that_lacks_a_particle(organic: LoadedModel) -> None:
    force = create_force(organic, topology_of(symbols_of(8)), particles=[1, 7], backend="python")
    context = context_of(particles_with(force, 7), positions_of(7))
    with pytest.raises(
        openmm.OpenMMException, match="particles of the force: expected 2, those of its topology, got 7"
    ):
        evaluated(context)


def test_positions_that_are_no_numbers(organic: LoadedModel) -> None:
    context = context_of(water_box(organic), positions_of(20))
    evaluated(context)
    context.getIntegrator().step(3)
    broken = positions_of(20)
    broken[5, 1] = np.nan
    context.setPositions(broken)
    text = (
        r"model `organic.safetensors` at step 3: .*atom 5.* The largest force in the evaluation before was [\d.e+]+ kJ"
    )
    with pytest.raises(openmm.OpenMMException, match=text):
        context.getState(energy=True)
    assert isinstance(last_exception(), ValueError)
    assert last_exception().__traceback__ is not None


class Broken:
    """An evaluator of a model in which something is wrong."""

    def __init__(self, energy: float, force: float, error: BaseException | None = None) -> None:
        self.energy, self.force, self.error = energy, force, error

    def evaluate(self, system: object, *, virial: bool = False) -> SimpleNamespace:
        if self.error is not None:
            raise self.error
        forces = torch.zeros(8, 3)
        forces[3, 0] = self.force
        return SimpleNamespace(energy=torch.tensor([self.energy]), forces=forces)


@pytest.mark.parametrize(
    ("evaluator", "kind", "text"),
    [
        (Broken(float("nan"), 0.0), NonFiniteForceError, "force at step 0, system 0, atom 0: expected finite numbers"),
        (Broken(0.0, float("inf")), NonFiniteForceError, "force at step 0, system 0, atom 3: expected finite numbers"),
        (Broken(0.0, 0.0, RuntimeError("out of paper.")), RuntimeError, "out of paper."),
        (Broken(0.0, 0.0, KeyboardInterrupt()), KeyboardInterrupt, "interrupted from the keyboard"),
    ],
)
def test_failures_keep_their_reason(
    organic: LoadedModel, monkeypatch: pytest.MonkeyPatch, evaluator: Broken, kind: type[BaseException], text: str
) -> None:
    monkeypatch.setattr(LoadedModel, "new_evaluator", lambda self: evaluator)
    compute = compute_of(organic)
    context = context_of(particles_with(openmm.PythonForce(compute), 8), positions_of(8))
    expected = f"model `organic.safetensors` at step 0: {text}.*There was no evaluation before."
    with pytest.raises(openmm.OpenMMException, match=expected):
        context.getState(energy=True)
    assert type(compute.last_exception) is kind
    assert last_exception() is compute.last_exception


def test_the_error_of_a_direct_call_names_its_cause(organic: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoadedModel, "new_evaluator", lambda self: Broken(0.0, 0.0, RuntimeError("no")))
    state = openmm.State()
    with pytest.raises(EvaluationError, match="model `organic.safetensors`") as raised:
        compute_of(organic)(state)
    assert raised.value.__cause__ is not None
    assert (raised.value.model, raised.value.largest_force) == ("organic.safetensors", None)


@pytest.fixture
def openmmtorch(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with a PythonTorchForce that hands over and takes tensors, on top of a PythonForce."""
    module = ModuleType("openmmtorch")

    def force(function: object, parameters: dict[str, float], particles: list[int]) -> openmm.PythonForce:
        def through_numpy(state: openmm.State) -> tuple[float, np.ndarray]:
            x = torch.tensor(state.getPositions(asNumpy=True)._value, requires_grad=True)
            energy, forces = function(state, x)
            assert isinstance(energy, torch.Tensor)
            assert isinstance(forces, torch.Tensor)
            # The memory is read without a look at strides or type.
            assert forces.is_contiguous()
            assert forces.dtype == torch.float64
            return energy.item(), forces.numpy()

        return openmm.PythonForce(through_numpy, parameters, particles)

    module.PythonTorchForce = force
    monkeypatch.setitem(sys.modules, "openmmtorch", module)
    return module


@pytest.mark.parametrize("box", [None, TRICLINIC])
def test_through_tensors(organic: LoadedModel, openmmtorch: ModuleType, box: object) -> None:
    topology = topology_of(symbols_of(8), box)
    systems = [create_system(topology, organic, backend=backend) for backend in ("torch", "python")]
    results = [evaluated(context_of(system, positions_of(8))) for system in systems]
    assert results[0][0] == results[1][0]
    assert np.array_equal(results[0][1], results[1][1])
    force = create_force(organic, topology, particles=[3, 1], backend="torch")
    some = evaluated(context_of(particles_with(force, 8), positions_of(8)))[1]
    assert not np.delete(some, [3, 1], axis=0).any()
    assert some[[3, 1]].all()
    broken = np.full((8, 3), np.nan)
    context = context_of(create_system(topology, organic, backend="torch"), broken)
    with pytest.raises(openmm.OpenMMException, match=r"model `organic.safetensors` at step 0"):
        evaluated(context)


def test_tensors_serve_models_on_a_gpu_by_default(
    organic: LoadedModel, openmmtorch: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flashmd.interfaces.openmm import force

    assert not force._wants_torch("auto", organic)
    on_gpu = SimpleNamespace(options=SimpleNamespace(device=torch.device("cuda")))
    assert force._wants_torch("auto", on_gpu)
    monkeypatch.delattr(openmmtorch, "PythonTorchForce")
    assert not force._wants_torch("auto", on_gpu)


def test_tensors_without_openmmtorch(organic: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openmmtorch", None)
    with pytest.raises(MissingDependencyError, match="`openmmtorch.PythonTorchForce`: expected it to be importable"):
        create_force(organic, topology_of(["O"]), backend="torch")


def test_openmm_must_be_new_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openmm.version, "version", "8.6.0")
    with pytest.raises(
        MissingDependencyError, match=re.escape("package `openmm`: expected version 8.6.1 or newer, got")
    ):
        engine_module.openmm_module()
    monkeypatch.setattr(openmm.version, "version", "8.10.0.dev-12ab")
    assert engine_module.openmm_module() is openmm


def test_openmm_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openmm", None)
    with pytest.raises(MissingDependencyError, match=r"package `openmm`: .*pip install flashmd-cg\[openmm\]"):
        engine_module.openmm_module()
