"""Kernels by themselves, with the operations and bytes that one unit of their work needs.

Counted are the multiplications and additions of the formulae, and the bytes that have to move: for kernels whose data
stay in a cache those that their loops load and store, for plain PyTorch every pass over an array of its own. Numbers
have four bytes; H channels, F filters, K basis functions, L blocks. A tanh counts as one operation.
"""

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from workloads import Motion, build_network, build_system

from flashmd.nn import tabulate
from flashmd.ops import Edges, edge_geometry, flash_cfconv, half_neighbor_list, sort_pairs, spline_conv
from flashmd.potential import Potential, SchNetPotential, VerletList
from flashmd.potential.compiled.network import make_evaluator
from flashmd.potential.priors import Repulsion
from flashmd.potential.priors.fused import FusedPriors

N_KNOTS = 513
CONVOLUTION = 10, 24  # operations and bytes for a channel: cubic 6, two products added 4; four loads, two stores
SLOPE = 9, 24  # its slope 4, product of both ends 3, times and sum 2; four loads, one product stored and loaded
TILE = 24  # atoms whose node layers read the matrices together


@dataclass(frozen=True)
class Kernel:
    """One kernel on one batch.

    Attributes:
        name: what it is.
        unit: what is counted, and how many of them the batch has.
        operations: for a unit.
        bytes: for a unit.
        source: "memory" or "cache", where the bytes come from.
        call: does the work once.
        overhead: work to be subtracted, for kernels that do not run alone.
    """

    name: str
    unit: tuple[str, int]
    operations: float
    bytes: float
    source: str
    call: Callable[[], object]
    overhead: Callable[[], object] | None = None


class Workload:
    """A batch with its pairs, the network and its table."""

    def __init__(self, n_beads: int, n_replicas: int) -> None:
        self.network = build_network().requires_grad_(False)
        config = self.network.config
        self.n_channels, self.n_filters = config.n_channels, config.n_filters
        self.n_basis, self.n_blocks = config.n_basis, config.n_blocks
        self.system = Motion(build_system(n_beads, n_replicas)).step()
        self.pairs = half_neighbor_list(self.system, config.cutoff_upper)
        double = build_network().double().requires_grad_(False)
        self.table = tabulate(double, N_KNOTS)
        self.compiled = make_evaluator(double, self.table, dtype=torch.float32, backend="kernel")

    @property
    def pair_blocks(self) -> int:
        """Pairs within the cutoff times blocks."""
        return self.pairs.n_edges * self.n_blocks

    def node_layers(self) -> object:
        """Evaluate the network as if no two atoms were neighbours."""
        return self.compiled.evaluate(self.system, self._no_pairs)

    @property
    def _no_pairs(self) -> Edges:
        return Edges.from_pairs(*torch.zeros(2, 0, dtype=torch.int64), self.system.n_atoms)


def kernels(work: Workload) -> list[Kernel]:
    """Return all kernels for a batch."""
    return [
        plain(work),
        node_layers(work),
        pairs_by_table(work),
        *training(work),
        *training_exactly(work),
        search(work),
        repulsion(work),
    ]


def plain(work: Workload) -> Kernel:
    """Plain PyTorch: filter network, envelope and messages of every pair, forward and backward.

    Forward, arrays of a pair and block with F numbers are passed over 19 times: hidden layer written; tanh, second
    layer and envelope read and write; twice gather (2), product (3) and sum (1). Backward 33 times: twice gather (2),
    two products (6) and sum (1); gradients of filters added (3), envelope (2), its own gradient (4), second layer (2),
    tanh (3), first layer (1).
    """
    potential = SchNetPotential(work.network, backend="reference")
    potential.verlet_list = VerletList(potential.cutoff, skin=0.0)
    n_filters = work.n_filters
    return Kernel(
        "plain PyTorch",
        ("pair and block", work.pair_blocks),
        operations=4 * (work.n_basis * n_filters + n_filters**2) + 20 * n_filters,
        bytes=52 * 4 * n_filters,
        source="memory",
        call=lambda: Potential.evaluate(potential, work.system),
    )


def node_layers(work: Workload) -> Kernel:
    """Dense layers of the atoms, forward and backward, measured on a batch without pairs.

    A block has the layers F x H and H x H, each block but the first the projection H x F (of the first, types are
    looked up). A tile of atoms reads every matrix once for each direction.
    """
    h, f, n_blocks = work.n_channels, work.n_filters, work.n_blocks
    widths = [h, *work.network.config.readout, 1]
    weights = n_blocks * (f * h + h * h) + (n_blocks - 1) * h * f + sum(a * b for a, b in itertools.pairwise(widths))
    return Kernel(
        "compiled: node layers",
        ("atom", work.system.n_atoms),
        operations=4 * weights,
        bytes=8 * weights / TILE,
        source="cache",
        call=work.node_layers,
    )


def pairs_by_table(work: Workload) -> Kernel:
    """What pairs add to the node layers: L convolutions forward, L - 1 backward, L slopes, their order."""
    n_blocks = work.n_blocks
    operations, size = (
        work.n_filters * ((2 * n_blocks - 1) * convolution + n_blocks * slope) / n_blocks
        for convolution, slope in zip(CONVOLUTION, SLOPE, strict=True)
    )
    return Kernel(
        "compiled: pairs",
        ("pair and block", work.pair_blocks),
        operations=operations,
        bytes=size,
        source="cache",
        call=lambda: work.compiled.evaluate(work.system, work.pairs),
        overhead=work.node_layers,
    )


def training(work: Workload) -> list[Kernel]:
    """One block's convolution by a table that is trained, forward and backward.

    Backward, a channel of a pair needs the cubic (6), the convolution of the gradient (4), the product of both ends
    (3), the slope (4) and its sum (2), and four sums for the polynomial (8); six loads and two stores.
    """
    distance = edge_geometry(work.system, work.pairs)[1].requires_grad_()
    table = work.table.to(torch.float32)
    values, slopes = (each[0].clone().requires_grad_() for each in (table.values, table.slopes))
    pairs = sort_pairs(distance, work.pairs, n_intervals=N_KNOTS - 1, cutoff=work.table.cutoff)
    features = torch.rand(work.system.n_atoms, work.n_filters, requires_grad=True)
    ones = torch.ones(work.system.n_atoms, work.n_filters)

    def forward() -> torch.Tensor:
        return spline_conv(features, values, slopes, pairs=pairs)

    def backward() -> object:
        return torch.autograd.grad(forward(), (features, values, slopes, distance), ones, retain_graph=True)

    unit = ("pair and block", work.pairs.n_edges)
    n = work.n_filters
    return [
        Kernel("training by table: forward", unit, CONVOLUTION[0] * n, CONVOLUTION[1] * n, "cache", forward),
        Kernel("training by table: backward", unit, 27 * n, 32 * n, "cache", backward, overhead=forward),
    ]


def training_exactly(work: Workload) -> list[Kernel]:
    """One block's convolution with filters recomputed for every tile of pairs, forward and backward.

    A pair needs the two layers of the filter network; backward needs them again, the gradients by their inputs and the
    gradients by their weights.
    """
    distance = edge_geometry(work.system, work.pairs)[1].requires_grad_()
    network = build_network()
    weights, form = network.filter_weights()[0], network.filter_form
    trained = [each for each in weights if each.requires_grad]
    features = torch.rand(work.system.n_atoms, work.n_filters, requires_grad=True)
    ones = torch.ones(work.system.n_atoms, work.n_filters)

    def forward() -> torch.Tensor:
        return flash_cfconv(features, distance, weights, form, work.pairs)

    def backward() -> object:
        return torch.autograd.grad(forward(), [features, distance, *trained], ones)

    unit = ("pair and block", work.pairs.n_edges)
    n = work.n_filters
    layers, moved = 2 * (work.n_basis * n + n * n), 24 * n
    return [
        Kernel("training exactly: forward", unit, layers + 4 * n, moved, "cache", forward),
        Kernel("training exactly: backward", unit, 3 * layers + 10 * n, moved, "cache", backward, overhead=forward),
    ]


def search(work: Workload) -> Kernel:
    """The neighbour list: eight operations for a distance; two indices, a shift and an entry of the transpose."""
    cutoff = work.table.cutoff
    return Kernel(
        "neighbour search",
        ("pair", work.pairs.n_edges),
        operations=8,
        bytes=48,
        source="memory",
        call=lambda: half_neighbor_list(work.system, cutoff),
    )


def repulsion(work: Workload) -> Kernel:
    """Repulsion of all pairs: distance 8, power and slope 12, forces of both 6; two indices, positions, forces."""
    one = dataclasses.replace(work.system.split()[0], types=torch.ones_like(work.system.split()[0].types))
    pairs = torch.triu_indices(one.n_atoms, one.n_atoms, 1).t().contiguous()
    system = dataclasses.replace(one, interactions={"non_bonded": pairs}).replicate(work.system.n_systems)
    prior = Repulsion("non_bonded", (torch.tensor([[1, 1]]), {"sigma": torch.full((1,), 0.3)}))
    fused = FusedPriors([prior])
    return Kernel(
        "compiled: repulsion",
        ("pair", pairs.shape[0] * system.n_systems),
        operations=26,
        bytes=80,
        source="cache",
        call=lambda: fused.evaluate(system),
    )
