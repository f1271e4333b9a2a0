"""A SchNet compiled for evaluation: filters tabulated, layers stored, the accuracy measured and held to a tolerance."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from flashmd.errors import ToleranceNotMetError
from flashmd.nn import SchNet
from flashmd.nn.filter_table import FilterTable, tabulate
from flashmd.nn.frozen import DenseLayer, freeze
from flashmd.ops._extension import use_kernels
from flashmd.potential.compiled.cuda import CudaLists, CudaTable
from flashmd.potential.compiled.evaluators import Evaluator, ExactNetwork, TableKernel, TableReference
from flashmd.potential.compiled.options import CompileOptions
from flashmd.potential.compiled.report import CompileReport, LayerError
from flashmd.potential.compiled.samples import Samples, draw_samples, errors_of
from flashmd.potential.compiled.stored_layers import store_network
from flashmd.potential.schnet_potential import SchNetPotential, check_dtype
from flashmd.potential.verlet_list import VerletList
from flashmd.protocols import Evaluation
from flashmd.system import System

FEWEST_INTERVALS = 256
MOST_INTERVALS = 16384
MEASUREMENT_ATOMS = 512
CALIBRATION_ATOMS = 1024
CALIBRATION_SEED, MEASUREMENT_SEED = 1, 2
"""Different, so that layers are not measured on what they were fitted to."""


class CompiledNetwork:
    """A network with constant parameters and its neighbour list.

    Args:
        evaluator: the network.
        source: the potential it was made of, read for its limits only.
        dtype: of positions and forces.
        backend: of the neighbour list.
        report: what compiling cost.
    """

    def __init__(
        self, evaluator: Evaluator, source: SchNetPotential, *, dtype: torch.dtype, backend: str, report: CompileReport
    ) -> None:
        self.evaluator = evaluator
        self.dtype = dtype
        self.report = report
        self.cutoff = source.cutoff
        self.verlet_list = VerletList(source.cutoff, skin=source.verlet_list.skin, backend=backend)

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Return energy, forces and virial; see :meth:`flashmd.potential.Potential.evaluate`."""
        check_dtype(system, self.dtype)
        return self.evaluator.evaluate(system, self.verlet_list.update_half(system), virial=virial)

    def atom_energies(self, system: System) -> Tensor:
        """Return the energy of every atom, [n_atoms], kJ/mol."""
        check_dtype(system, self.dtype)
        return self.evaluator.atom_energies(system, self.verlet_list.update_half(system))

    def list_state(self) -> dict[str, Tensor]:
        """Return the positions of the last build of the neighbour list."""
        reference = self.verlet_list.reference_positions
        return {} if reference is None else {"pairs": reference}

    def restore_lists(self, system: System, state: Mapping[str, Tensor]) -> None:
        """Rebuild the neighbour list from saved positions; start afresh where there are none."""
        if "pairs" in state:
            self.verlet_list.restore(system, state["pairs"])
        else:
            self.verlet_list.reset()


class CudaNetwork(CompiledNetwork):
    """A tabulated network on a GPU. Its neighbour list lives on the device, which no step waits for.

    A list finds the pairs of an atom in one order whenever it was built, so a restart needs to know nothing of it.
    """

    def __init__(
        self, evaluator: CudaTable, source: SchNetPotential, *, dtype: torch.dtype, backend: str, report: CompileReport
    ) -> None:
        super().__init__(evaluator, source, dtype=dtype, backend=backend, report=report)
        self._lists = CudaLists(evaluator, self.cutoff, skin=self.verlet_list.skin)

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """See :meth:`CompiledNetwork.evaluate`."""
        check_dtype(system, self.dtype)
        return self._lists.evaluate(system, virial=virial)

    def restore_lists(self, system: System, state: Mapping[str, Tensor]) -> None:
        """Forget the list."""
        del system, state
        self._lists.reset()


def compile_network(source: SchNetPotential, template: System, options: CompileOptions) -> CompiledNetwork:
    """Compile a network in the dtype and on the device of a template.

    Raises:
        ToleranceNotMetError: the forces are not accurate enough.
        ValueError: the template has no pairs or types that the network does not know.
    """
    source.check(template)
    device, dtype = template.positions.device, template.positions.dtype
    network = copy.deepcopy(source.network).to(device=device, dtype=torch.float64).requires_grad_(False)
    samples = draw_samples(network, template, n_atoms=MEASUREMENT_ATOMS, seed=MEASUREMENT_SEED, backend=options.backend)
    table = _refined_table(network, samples, options) if options.filters == "table" else None
    evaluator, plain, layers = _forms(network, table, template, options)
    force_error, energy_error = errors_of(evaluator, samples)
    report = CompileReport(
        filters=options.filters,
        precision=options.precision,
        dtype=str(dtype).removeprefix("torch."),
        n_knots=None if table is None else table.n_knots,
        tolerance=options.allowed,
        force_error=force_error,
        energy_error=energy_error,
        plain_force_error=None if plain is None else errors_of(plain, samples)[0],
        n_frames=sum(each.system.n_systems for each in samples),
        shortest=min(float(each.distance.min()) for each in samples if each.pairs.n_edges),
        layers=layers,
    )
    if not force_error <= options.allowed:
        raise ToleranceNotMetError(force_error, options.allowed, _advice(options))
    if isinstance(evaluator, CudaTable):
        return CudaNetwork(evaluator, source, dtype=dtype, backend=options.backend, report=report)
    return CompiledNetwork(evaluator, source, dtype=dtype, backend=options.backend, report=report)


def make_evaluator(
    network: SchNet,
    table: FilterTable | None,
    layers: Mapping[str, DenseLayer] | None = None,
    *,
    dtype: torch.dtype,
    backend: str,
) -> Evaluator:
    """Return the evaluator of a network.

    Args:
        network: in double precision; copied.
        table: its filters, or None to evaluate the filter network.
        layers: stored forms of its dense layers by name, read with a table only.
        dtype: of the calculation.
        backend: "kernel" or "reference".
    """
    if table is None:
        return ExactNetwork(copy.deepcopy(network).to(dtype), backend)
    frozen = freeze(network, table, layers).to(dtype)
    if use_kernels(backend) and frozen.embedding.device.type == "cpu":
        return TableKernel(frozen)
    if use_kernels(backend) and frozen.embedding.device.type == "cuda":
        return CudaTable(frozen)
    return TableReference(frozen, backend)


def _refined_table(network: SchNet, samples: list[Samples], options: CompileOptions) -> FilterTable:
    """Return the first table, of half as many intervals again each, whose forces are within the tolerance."""
    best, intervals = math.inf, FEWEST_INTERVALS
    while intervals <= MOST_INTERVALS:
        table = tabulate(network, intervals + 1)
        evaluator = make_evaluator(network, table, dtype=samples[0].dtype, backend=options.backend)
        error = errors_of(evaluator, samples)[0]
        if error <= options.allowed_of_table:
            return table
        best, intervals = min(best, error), intervals * 3 // 2
    raise ToleranceNotMetError(best, options.allowed_of_table, _advice(options))


def _forms(
    network: SchNet, table: FilterTable | None, template: System, options: CompileOptions
) -> tuple[Evaluator, Evaluator | None, tuple[LayerError, ...]]:
    """Return the evaluator and, for stored layers, that of plainly rounded ones and the errors of the layers."""
    make = functools.partial(make_evaluator, dtype=template.positions.dtype, backend=options.backend)
    if options.storage is None:
        return make(network, table), None, ()
    samples = draw_samples(network, template, n_atoms=CALIBRATION_ATOMS, seed=CALIBRATION_SEED, backend=options.backend)
    filters = options.filters == "network"
    stored = store_network(
        network, samples, options.storage, filters=filters, seed=CALIBRATION_SEED, backend=options.backend
    )
    return make(stored.network, table, stored.layers), make(stored.plain, table), stored.errors


def _advice(options: CompileOptions) -> str:
    if options.storage is not None:
        return "choose another `precision` (int16 is the most accurate in 16 bits) or a larger `tolerance`"
    wider = "use double precision or a larger `tolerance`"
    return wider if options.filters == "network" else f"{wider}, or `filters='network'`"
