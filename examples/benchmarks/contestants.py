"""The implementations that are compared: each maps a batch to energies and forces, with the same weights.

| name                 | what it is                                                                                    |
|----------------------|-----------------------------------------------------------------------------------------------|
| `compiled`           | `SchNetPotential.compile`: tabulated filters, one operator, no autograd                       |
| `trainable`          | `SchNetPotential(backend="kernel")`: differentiable operators, forces by autograd             |
| `reference`          | `SchNetPotential(backend="reference")`: plain PyTorch over pairs, forces by autograd          |
| `reference-directed` | the same over directed edges, one filter for each direction, as most codes do                 |
| `pyg`                | PyTorch Geometric's `MessagePassing`                                                          |
| `torchmdnet`         | torchmd-net's graph network with its own neighbour search                                     |

Nothing slows the plain implementations down: weights are frozen, so that autograd follows the positions only, and
their edges come from the compiled search and end at the cutoff, without the pairs of a skin.
"""

import copy
from collections.abc import Callable

import torch

from flashmd.errors import message
from flashmd.nn import SchNet
from flashmd.ops import edge_geometry
from flashmd.potential import Potential, SchNetPotential, VerletList
from flashmd.protocols import Evaluation
from flashmd.system import System

Step = Callable[[System], Evaluation]


class UnavailableError(Exception):
    """A contestant needs something that is not installed."""


def make(name: str, network: SchNet, template: System) -> Step:
    """Return the contestant `name` for batches like `template`.

    Raises:
        UnavailableError: a package is missing; the text names the way to install it.
    """
    return CONTESTANTS[name](copy.deepcopy(network), template)


def _compiled(network: SchNet, template: System) -> Step:
    one = template.split()[0]
    return SchNetPotential(network).compile(one).evaluate


def _trainable(network: SchNet, template: System) -> Step:
    del template
    potential = SchNetPotential(network, backend="kernel")
    return lambda system: Potential.evaluate(potential, system)


def _reference(network: SchNet, template: System) -> Step:
    del template
    potential = _PlainPotential(network.requires_grad_(False))
    return lambda system: Potential.evaluate(potential, system)


def _reference_directed(network: SchNet, template: System) -> Step:
    del template
    potential = _DirectedPotential(network.requires_grad_(False))
    return lambda system: Potential.evaluate(potential, system)


def _pyg(network: SchNet, template: System) -> Step:
    del template
    try:
        from peer_pyg import PygSchNet
    except ImportError as error:
        raise UnavailableError(_missing("torch_geometric", "pip install 'flashmd-cg[bench]'", error)) from error
    return PygSchNet(network).evaluate


def _torchmdnet(network: SchNet, template: System) -> Step:
    try:
        from peer_torchmdnet import GraphNetwork
    except ImportError as error:
        raise UnavailableError(_missing("torchmdnet", "pip install torchmd-net", error)) from error
    return GraphNetwork(network, template).evaluate


def _missing(package: str, command: str, error: ImportError) -> str:
    return message(f"the package {package!r}", "installed", f"{error}", f"run `{command}`")


class _PlainPotential(SchNetPotential):
    """The plain potential on the pairs within the cutoff, found anew in each step by the compiled search."""

    def __init__(self, network: SchNet) -> None:
        super().__init__(network, backend="reference")
        self.verlet_list = VerletList(self.cutoff, skin=0.0)


class _DirectedPotential(_PlainPotential):
    """The same on directed edges."""

    def atom_energies(self, system: System) -> torch.Tensor:
        edges = self.verlet_list.update(system)
        distance = edge_geometry(system, edges, backend=self.backend)[1]
        return self.network(system.types, edges, distance, backend=self.backend)


CONTESTANTS: dict[str, Callable[[SchNet, System], Step]] = {
    "compiled": _compiled,
    "trainable": _trainable,
    "reference": _reference,
    "reference-directed": _reference_directed,
    "pyg": _pyg,
    "torchmdnet": _torchmdnet,
}
