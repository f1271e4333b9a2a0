"""The graph network of torchmd-net with the weights of a `flashmd.nn.SchNet`.

Its representation is the same network; its readout is replaced by ours, which has other widths. Neighbours come from
its own search, which it repeats in every call.
"""

import torch
import warp
from torch import Tensor, nn

warp.config.log_level = 40  # it writes to the terminal when it starts

from torchmdnet.models.torchmd_gn import TorchMD_GN  # noqa: E402

from flashmd.nn import SchNet  # noqa: E402
from flashmd.protocols import Evaluation  # noqa: E402
from flashmd.system import System  # noqa: E402


class GraphNetwork(nn.Module):
    """The whole network.

    Args:
        network: where the weights come from; an exponential basis and tanh.
        template: batch whose largest molecule bounds the number of neighbours.
    """

    def __init__(self, network: SchNet, template: System) -> None:
        super().__init__()
        config = network.config
        self.representation = TorchMD_GN(
            hidden_channels=config.n_channels,
            num_filters=config.n_filters,
            num_layers=config.n_blocks,
            num_rbf=config.n_basis,
            rbf_type="expnorm",
            trainable_rbf=False,
            activation="tanh",
            neighbor_embedding=False,
            cutoff_upper=config.cutoff_upper,
            max_z=config.n_types,
            max_num_neighbors=int(template.ptr.diff().max()),
        )
        self.readout = network.readout
        _copy_weights(network, self.representation)
        self.to(template.positions).requires_grad_(False)

    def forward(self, system: System) -> Tensor:
        """Return the energies [n_systems]."""
        features = self.representation(system.types, system.positions, system.batch)[0]
        atoms = self.readout(features).squeeze(-1).to(torch.float64)
        return atoms.new_zeros(system.n_systems).index_add(0, system.batch, atoms)

    def evaluate(self, system: System) -> Evaluation:
        """Return energies and forces."""
        positions = system.positions.detach().clone().requires_grad_()
        energy = self(system.with_positions(positions))
        (gradient,) = torch.autograd.grad(energy.sum(), positions)
        return Evaluation(energy.detach(), gradient.neg_())


@torch.no_grad()
def _copy_weights(network: SchNet, target: TorchMD_GN) -> None:
    filters = network.filter_network
    target.embedding.weight.copy_(network.embedding.weight)
    target.distance_expansion.means.copy_(network.basis.means)
    target.distance_expansion.betas.copy_(network.basis.betas)
    for index, (source, block) in enumerate(zip(network.blocks, target.interactions, strict=True)):
        block.mlp[0].weight.copy_(filters.weight_in[index])
        block.mlp[0].bias.copy_(filters.bias_in[index])
        block.mlp[2].weight.copy_(filters.weight_out[index])
        block.mlp[2].bias.zero_()
        block.conv.lin1.weight.copy_(source.project.weight)
        block.conv.lin2.load_state_dict(source.mix.state_dict())
        block.lin.load_state_dict(source.update.state_dict())
