"""SchNet written with PyTorch Geometric, as its users write it: filters of all edges, then message passing.

Every block has its own filter network; messages go from sender to receiver over directed edges; forces come from
autograd. The weights are those of a `flashmd.nn.SchNet`, so energies and forces can be compared.
"""

import torch
from torch import Tensor, nn
from torch_geometric.nn.conv import MessagePassing

from flashmd.nn import SchNet
from flashmd.potential import VerletList
from flashmd.protocols import Evaluation
from flashmd.system import System


class CFConv(MessagePassing):
    """Filter network, continuous-filter convolution and the two dense layers behind it.

    Args:
        network: where the weights come from.
        block: number of the interaction block.
    """

    def __init__(self, network: SchNet, block: int) -> None:
        super().__init__(aggr="add")
        filters, source = network.filter_network, network.blocks[block]
        n_filters, n_basis = filters.weight_in.shape[1:]
        self.filter_network = nn.Sequential(
            nn.Linear(n_basis, n_filters), nn.Tanh(), nn.Linear(n_filters, n_filters, bias=False)
        )
        self.filter_network[0].weight.data = filters.weight_in.data[block]
        self.filter_network[0].bias.data = filters.bias_in.data[block]
        self.filter_network[2].weight.data = filters.weight_out.data[block]
        self.project, self.mix, self.update_layer = source.project, source.mix, source.update

    def forward(self, features: Tensor, edge_index: Tensor, basis: Tensor, envelope: Tensor) -> Tensor:
        """Return the new features [n_atoms, n_channels]."""
        filters = self.filter_network(basis) * envelope[:, None]
        messages = self.propagate(edge_index, features=self.project(features), filters=filters)
        return features + self.update_layer(torch.tanh(self.mix(messages)))

    def message(self, features_j: Tensor, filters: Tensor) -> Tensor:
        """Return what a sender sends along each edge."""
        return features_j * filters


class PygSchNet(nn.Module):
    """The whole network.

    Args:
        network: where the weights come from; its activation must be tanh.
    """

    def __init__(self, network: SchNet) -> None:
        super().__init__()
        self.embedding, self.basis, self.envelope = network.embedding, network.basis, network.envelope
        self.blocks = nn.ModuleList(CFConv(network, block) for block in range(network.config.n_blocks))
        self.readout = network.readout
        self.verlet_list = VerletList(network.config.cutoff_upper, skin=0.0)
        self.requires_grad_(False)

    def forward(self, system: System, edge_index: Tensor) -> Tensor:
        """Return the energies [n_systems] over the edges [2, n_edges] from senders to receivers."""
        sender, receiver = edge_index
        distance = torch.linalg.vector_norm(system.positions[sender] - system.positions[receiver], dim=-1)
        basis, envelope = self.basis(distance), self.envelope(distance)
        features = self.embedding(system.types)
        for block in self.blocks:
            features = block(features, edge_index, basis, envelope)
        atoms = self.readout(features).squeeze(-1).to(torch.float64)
        return atoms.new_zeros(system.n_systems).index_add(0, system.batch, atoms)

    def evaluate(self, system: System) -> Evaluation:
        """Return energies and forces."""
        edges = self.verlet_list.update(system)
        positions = system.positions.detach().clone().requires_grad_()
        energy = self(system.with_positions(positions), torch.stack([edges.sender, edges.receiver]))
        (gradient,) = torch.autograd.grad(energy.sum(), positions)
        return Evaluation(energy.detach(), gradient.neg_())
