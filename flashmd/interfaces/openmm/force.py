"""A potential as a force of OpenMM, and systems that consist of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import torch

from flashmd.errors import ExtensionNotBuiltError, MissingDependencyError, OutputError, message
from flashmd.interfaces.model import LoadedModel, open_model
from flashmd.interfaces.openmm.compute import PotentialCompute, TorchPotentialCompute
from flashmd.interfaces.openmm.engine import openmm_module
from flashmd.interfaces.openmm.native import native_force
from flashmd.interfaces.openmm.particles import describe, listed
from flashmd.potential import Potential
from flashmd.system import System

if TYPE_CHECKING:
    import openmm

BACKENDS = ("auto", "native", "python", "torch")
N_GROUPS = 32
NAME = "FlashMDForce"
Model = str | Path | Potential | LoadedModel


class ForceOptions(TypedDict, total=False):
    """Keyword arguments of `create_force` that `create_system` hands on."""

    force_group: int
    periodic: bool | None
    device: str | torch.device
    dtype: str | torch.dtype
    backend: str


def create_force(
    model: Model,
    topology: openmm.app.Topology | System,
    *,
    particles: Iterable[int] | None = None,
    force_group: int = 0,
    periodic: bool | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "float32",
    backend: str = "auto",
) -> openmm.Force:
    """Return a potential as a force that can be added to a System of OpenMM.

    Args:
        model: model file, name of a shipped model, a potential, or the result of
            :func:`flashmd.interfaces.model.open_model`, which then decides on device and dtype.
        topology: tells elements or residues; a `System` gives types and lists of terms itself.
        particles: indices of the particles that the model acts on, in the order in which it shall see them; None for
            all particles. The topology has all particles, a `System` has these only.
        force_group: 0 to 31.
        periodic: use the box of the Context; None where the topology has one.
        device: where the model is evaluated, whatever OpenMM's platform.
        dtype: of the evaluation, "float32" or "float64".
        backend: "native" for the plugin, which evaluates compiled models on the CPU without Python; "python" for
            `openmm.PythonForce`; "torch" for `openmmtorch.PythonTorchForce`, which leaves positions on the GPU. "auto"
            is the plugin where it is built and can evaluate the model, else Python, through tensors on a GPU.

    Raises:
        MissingDependencyError: OpenMM 8.6.1, or openmmtorch where it was asked for, is not installed.
        ExtensionNotBuiltError: the plugin was asked for and is not built.
        OutputError: the file that the plugin reads cannot be written.
        CheckpointError: the model cannot be read.
        ValueError: the model does not know an element or a bead, particles do not fit to the topology, or an option is
            unknown.

    Example:
        >>> from flashmd.interfaces.openmm import coarse_grain, create_force
        >>> topology, positions = coarse_grain("data/structures/chignolin_native_ca.pdb")
        >>> create_force("chignolin-ca", topology, force_group=1, backend="python").getForceGroup()
        1
    """
    options: ForceOptions = {
        "force_group": force_group,
        "periodic": periodic,
        "device": device,
        "dtype": dtype,
        "backend": backend,
    }
    chosen = listed(particles)
    return _force(_prepared(model, topology, chosen, options), chosen, force_group, backend)


def create_system(
    topology: openmm.app.Topology | System,
    model: Model,
    *,
    remove_cm_motion: bool = True,
    **options: Unpack[ForceOptions],
) -> openmm.System:
    """Return a System of OpenMM whose only interactions are a potential.

    Masses are those of the model's beads, which a topology does not know, or of the elements.

    Args:
        topology: see `create_force`.
        model: see `create_force`.
        remove_cm_motion: add a `CMMotionRemover`.
        **options: those of `create_force`.

    Raises:
        TypeError: an option is unknown.
        ValueError: a mass is missing, or one of the reasons that `create_force` has.

    Example:
        >>> from flashmd.interfaces.openmm import coarse_grain, create_system
        >>> topology, positions = coarse_grain("data/structures/chignolin_native_ca.pdb")
        >>> system = create_system(topology, "chignolin-ca", backend="python")
        >>> round(system.getParticleMass(0)._value)
        163
    """
    openmm = openmm_module()
    check_names(options, ForceOptions.__annotations__)
    system = openmm.System()
    for mass in add_force(system, model, topology, **options):
        system.addParticle(mass)
    box = _box_of(topology)
    if box is not None:
        system.setDefaultPeriodicBoxVectors(*box)
    if remove_cm_motion:
        system.addForce(openmm.CMMotionRemover())
    return system


def add_force(
    system: openmm.System,
    model: Model,
    topology: openmm.app.Topology | System,
    *,
    particles: list[int] | None = None,
    **options: Unpack[ForceOptions],
) -> list[float]:
    """Add the force of `create_force` to a System and return the masses of its particles, Da.

    Raises:
        ValueError: a mass is not positive, or one of the reasons that `create_force` has.
    """
    compute = _prepared(model, topology, particles, options)
    masses = _masses_of(compute)
    system.addForce(_force(compute, particles, options.get("force_group", 0), options.get("backend", "auto")))
    return masses


def check_names(options: Iterable[str], known: Iterable[str]) -> None:
    """Refuse options that nothing would read.

    Raises:
        TypeError: one is unknown.
    """
    unknown = sorted(set(options) - set(known))
    if unknown:
        names = ", ".join(known)
        raise TypeError(message("options", f"some of {names}", f"`{unknown[0]}`", "remove it or correct its name"))


def _masses_of(compute: PotentialCompute) -> list[float]:
    for particle, mass in enumerate(compute.masses):
        if not mass > 0.0:
            # OpenMM holds a particle without a mass in place.
            fix = "give the `System` masses, in Da"
            raise ValueError(message(f"the mass of particle {particle}", "a positive number", f"{mass}", fix))
    return compute.masses


def _prepared(
    model: Model, topology: openmm.app.Topology | System, particles: list[int] | None, options: ForceOptions
) -> PotentialCompute:
    """Check all arguments and return the function of the force."""
    backend = options.get("backend", "auto")
    _check_options(backend, options.get("force_group", 0))
    described = describe(topology, particles)
    if isinstance(model, LoadedModel):
        loaded = model
    else:
        loaded = open_model(model, device=options.get("device", "cpu"), dtype=options.get("dtype", "float32"))
    periodic = options.get("periodic")
    if periodic is None:
        periodic = _box_of(topology) is not None
    chosen = TorchPotentialCompute if _wants_torch(backend, loaded) else PotentialCompute
    # OpenMM 8.6.1 hands over some particles of a force without a box wrongly where a GPU platform has wrapped them.
    selection = None if periodic else particles
    return chosen(loaded, described, periodic=periodic, selection=selection)


def _force(compute: PotentialCompute, particles: list[int] | None, force_group: int, backend: str) -> openmm.Force:
    if backend in ("auto", "native") and not isinstance(compute, TorchPotentialCompute):
        try:
            return _native_force(compute, particles, force_group)
        except (ExtensionNotBuiltError, OutputError, ValueError) as error:
            # All arguments are checked by now: what the plugin refuses, Python evaluates.
            if backend == "native":
                raise
            if isinstance(error, OutputError):
                # The user may think that the plugin is at work, and can see to it that it is.
                warnings.warn(f"{error} Meanwhile the force runs through Python.", RuntimeWarning, stacklevel=2)
    return _python_force(compute, particles, force_group)


def _native_force(compute: PotentialCompute, particles: list[int] | None, force_group: int) -> openmm.Force:
    device = compute.model.options.device
    if device.type != "cpu":
        fix = "use `backend='python'`, or `device='cpu'`"
        raise ValueError(message("`device`", "'cpu' for `backend='native'`", repr(str(device)), fix))
    return native_force(
        compute.model,
        compute.system,
        particles=particles,
        periodic=compute.periodic,
        force_group=force_group,
        threads=torch.get_num_threads(),
    )


def _python_force(compute: PotentialCompute, particles: list[int] | None, force_group: int) -> openmm.Force:
    indices = [] if particles is None or compute.selection else particles
    if isinstance(compute, TorchPotentialCompute):
        from openmmtorch import PythonTorchForce

        force = PythonTorchForce(compute, {}, indices)
    else:
        force = openmm_module().PythonForce(compute, {}, indices)
    force.setUsesPeriodicBoundaryConditions(compute.periodic)
    force.setForceGroup(force_group)
    force.setName(NAME)
    return force


def _check_options(backend: str, force_group: int) -> None:
    openmm_module()
    if backend not in BACKENDS:
        raise ValueError(message("`backend`", f"one of {', '.join(BACKENDS)}", repr(backend), "choose one of these"))
    if not 0 <= force_group < N_GROUPS:
        raise ValueError(message("`force_group`", f"0 to {N_GROUPS - 1}", f"{force_group}", "choose one of these"))


def _wants_torch(backend: str, model: LoadedModel) -> bool:
    """Whether to use the force that takes tensors: on request, and on a GPU where there is one.

    Raises:
        MissingDependencyError: it was asked for and is not installed, or is too old to have it.
    """
    if backend == "torch":
        if not _has_torch_force():
            fix = "build openmm-torch with `PythonTorchForce`, or use `backend='python'`"
            raise MissingDependencyError(message("`openmmtorch.PythonTorchForce`", "it to be importable", "none", fix))
        return True
    return backend == "auto" and model.options.device.type != "cpu" and _has_torch_force()


def _has_torch_force() -> bool:
    try:
        import openmmtorch
    except ImportError:
        return False
    return hasattr(openmmtorch, "PythonTorchForce")


def _box_of(topology: openmm.app.Topology | System) -> Any:
    """Return the lattice vectors in nm, or None where the topology has none."""
    if isinstance(topology, System):
        return topology.cell[0].tolist() if bool(topology.pbc.any()) else None
    vectors = topology.getPeriodicBoxVectors()
    return None if vectors is None else vectors.value_in_unit(openmm_module().unit.nanometer)
