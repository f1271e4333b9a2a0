"""SchNet as a potential: neighbour list, geometry, network, sum over the atoms of each system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.nn import FilterTable, SchNet, SchNetConfig, tabulate
from flashmd.ops import edge_geometry, segment_sum
from flashmd.potential.base import Potential
from flashmd.potential.pair_forces import evaluate_pairs
from flashmd.potential.registry import register
from flashmd.potential.verlet_list import VerletList
from flashmd.protocols import Evaluation
from flashmd.system import System


@register
class SchNetPotential(Potential):
    """Energy of a batch from a SchNet.

    Args:
        network: a network, or the configuration of a new one.
        skin: extra reach of the neighbour list, nm.
        seed: seed of the weights of a new network.
        backend: "kernel" or "reference", see :mod:`flashmd.ops`.
        name: key of the energy in `terms`.
        bead_types: integer of each bead type by name.
        n_knots: let `energy` read the filters from a table of so many distances, made anew at each call: batches of
            many pairs train many times faster. None evaluates the filters for each pair.

    Example:
        >>> import torch
        >>> from flashmd.nn import SchNetConfig
        >>> from flashmd.system import System
        >>> config = SchNetConfig(n_types=3, n_channels=8, n_filters=8, n_basis=6, n_blocks=1, readout=(4,))
        >>> potential = SchNetPotential(config, backend="reference")
        >>> dimer = System.single(torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0]]), torch.tensor([1, 2]))
        >>> potential.evaluate(dimer).forces.shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        network: SchNet | SchNetConfig,
        *,
        skin: float = 0.2,
        seed: int = 0,
        backend: str = "kernel",
        name: str = "SchNet",
        bead_types: Mapping[str, int] | None = None,
        n_knots: int | None = None,
    ) -> None:
        super().__init__(name)
        self.network = network if isinstance(network, SchNet) else SchNet(network, seed=seed)
        self.backend = backend
        self.bead_types = None if bead_types is None else dict(bead_types)
        self.n_knots = n_knots
        self.verlet_list = VerletList(self.cutoff, skin=skin, backend=backend)
        _keep_freed_memory()

    @property
    def config(self) -> SchNetConfig:
        """Configuration of the network."""
        return self.network.config

    @property
    def cutoff(self) -> float:
        """Cutoff of the network, nm."""
        return self.network.config.cutoff_upper

    def energy(self, system: System) -> Tensor:
        """Return the energies [n_systems], kJ/mol, float64, differentiable.

        Raises:
            TypeError: positions and weights differ in dtype.
        """
        atoms = self.atom_energies(system)
        return segment_sum(atoms.to(torch.float64), system.ptr, backend=self.backend)

    def atom_energies(self, system: System) -> Tensor:
        """Return the energy of every atom, [n_atoms], kJ/mol, dtype of the positions."""
        self._check_dtype(system)
        edges = self.verlet_list.update_half(system)
        distance = edge_geometry(system, edges, backend=self.backend)[1]
        energy: Tensor = self.network(
            system.types, edges, distance, half=True, table=self._table(), backend=self.backend
        )
        return energy

    def _table(self) -> FilterTable | None:
        return None if self.n_knots is None else tabulate(self.network, self.n_knots)

    def evaluate(self, system: System, *, virial: bool = False) -> Evaluation:
        """Return energy, forces and virial; see :meth:`Potential.evaluate`."""
        self._check_dtype(system)
        edges, table = self.verlet_list.update_half(system), self._table()

        def function(distance: Tensor) -> tuple[Tensor, Tensor]:
            return self.network.energy_and_slope(system.types, edges, distance, table=table, backend=self.backend)

        return evaluate_pairs(system, edges, function, virial=virial, backend=self.backend)

    def _check_dtype(self, system: System) -> None:
        check_dtype(system, self.network.embedding.weight.dtype)

    def check(self, system: System) -> None:
        """Refuse non-finite positions and types outside the embedding table."""
        super().check(system)
        check_types(system, self.config.n_types)

    def list_state(self) -> dict[str, Tensor]:
        """Return the positions of the last build of the neighbour list."""
        reference = self.verlet_list.reference_positions
        return {} if reference is None else {self.name: reference}

    def restore_lists(self, system: System, state: Mapping[str, Tensor]) -> None:
        """Rebuild the neighbour list from saved positions; start afresh where there are none."""
        if self.name in state:
            self.verlet_list.restore(system, state[self.name])
        else:
            self.verlet_list.reset()

    def to_spec(self) -> dict[str, Any]:
        """Return name, configuration, skin and bead types."""
        return {
            "name": self.name,
            "config": self.config.to_dict(),
            "skin": self.verlet_list.skin,
            "bead_types": self.bead_types,
        }

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> SchNetPotential:
        """Rebuild the potential from `to_spec`."""
        return cls(SchNetConfig(**spec["config"]), skin=spec["skin"], name=spec["name"], bead_types=spec["bead_types"])


def check_dtype(system: System, dtype: torch.dtype) -> None:
    """Refuse positions of another dtype than that of the weights."""
    if system.positions.dtype != dtype:
        fix = "convert the system or the potential with `.to(dtype=...)`"
        raise TypeError(message("`positions`", f"{dtype} as the weights", f"{system.positions.dtype}", fix))


def check_types(system: System, n_types: int) -> None:
    """Refuse types outside an embedding table of `n_types` rows."""
    if system.n_atoms and not 0 <= int(system.types.min()) <= int(system.types.max()) < n_types:
        wrong = (system.types < 0) | (system.types >= n_types)
        atom = int(torch.nonzero(wrong)[0])
        got = f"type {int(system.types[atom])} of atom {atom}"
        raise ValueError(message("`types`", f"integers from 0 to {n_types - 1}", got, "use a model that covers it"))


def _keep_freed_memory() -> None:
    """Let the C library reuse freed memory instead of handing it back to the system after every step.

    glibc raises its thresholds to the size of the largest block freed so far, up to 32 MiB. Without this, each step
    asks for fresh pages, which costs more than the arithmetic of a small batch. The block is never touched.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8, device="cpu")
