"""SchNet: continuous-filter convolutions on a graph of atoms or beads.

The filters of all blocks read the same radial basis, so one network with stacked weights produces them together. An
envelope multiplies the filters in every block, also where the basis has an envelope of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from flashmd.errors import message
from flashmd.nn.cutoff import make_envelope
from flashmd.nn.mlp import MLP, activation, dense
from flashmd.nn.radial_basis import ExpNormalBasis, GaussianBasis
from flashmd.ops import Edges, FilterForm, FilterWeights, cfconv, cfconv_transposed, flash_cfconv

if TYPE_CHECKING:
    from flashmd.nn.filter_table import FilterTable

Convolution = Callable[[Tensor], Tensor]
"""From sent features [n_atoms, n_filters] to summed messages of the same shape."""


@dataclass(frozen=True)
class SchNetConfig:
    """Sizes and choices of a SchNet; every field is a JSON value.

    Attributes:
        n_types: size of the embedding table; types are 0 ... n_types - 1.
        n_channels: features of an atom, H.
        n_filters: features of a filter, F.
        n_basis: radial basis functions, K.
        basis: "expnormal" or "gaussian".
        cutoff_lower: start of the interaction, nm; a bump envelope results where it is positive.
        cutoff_upper: cutoff, nm.
        basis_envelope: envelope within the basis, "cosine" or "identity".
        basis_alpha: decay of the exponential basis, nm^-1; None for 5 / (cutoff_upper - cutoff_lower).
        trainable_basis: train the parameters of the basis.
        envelope: envelope of the filters, "cosine" or "identity".
        n_blocks: interaction blocks, L.
        readout: hidden widths of the readout.
        activation: "tanh", "ssp" or "silu".
    """

    n_types: int
    n_channels: int = 128
    n_filters: int = 128
    n_basis: int = 64
    basis: str = "expnormal"
    cutoff_lower: float = 0.0
    cutoff_upper: float = 1.5
    basis_envelope: str = "cosine"
    basis_alpha: float | None = None
    trainable_basis: bool = False
    envelope: str = "cosine"
    n_blocks: int = 4
    readout: tuple[int, ...] = (128, 64)
    activation: str = "tanh"

    def __post_init__(self) -> None:
        object.__setattr__(self, "readout", tuple(self.readout))
        for name in ("n_types", "n_channels", "n_filters", "n_blocks"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(message(f"`{name}`", "a positive integer", f"{value}", "correct the configuration"))

    def to_dict(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        return {**dataclasses.asdict(self), "readout": list(self.readout)}


class FilterNetwork(nn.Module):
    r"""Filters of all blocks: :math:`w_l = A_l\, a(B_l R + b_l)`.

    ===========  =============================================
    symbol       variable
    ===========  =============================================
    :math:`B_l`  `weight_in` [n_blocks, n_filters, n_basis]
    :math:`b_l`  `bias_in` [n_blocks, n_filters]
    :math:`A_l`  `weight_out` [n_blocks, n_filters, n_filters]
    ===========  =============================================

    Args:
        config: sizes and activation.
        generator: source of the initial weights.
    """

    def __init__(self, config: SchNetConfig, generator: torch.Generator) -> None:
        super().__init__()
        n_blocks, n_filters, n_basis = config.n_blocks, config.n_filters, config.n_basis
        self._activation = activation(config.activation)
        self.weight_in = nn.Parameter(torch.empty(n_blocks, n_filters, n_basis))
        self.bias_in = nn.Parameter(torch.zeros(n_blocks, n_filters))
        self.weight_out = nn.Parameter(torch.empty(n_blocks, n_filters, n_filters))
        for block in range(n_blocks):
            nn.init.xavier_uniform_(self.weight_in[block], generator=generator)
            nn.init.xavier_uniform_(self.weight_out[block], generator=generator)

    def forward(self, basis: Tensor) -> Tensor:
        """Map the basis [n, n_basis] to filters [n_blocks, n, n_filters]."""
        n_blocks, n_filters, n_basis = self.weight_in.shape
        weight = self.weight_in.reshape(n_blocks * n_filters, n_basis)
        hidden = self._activation(torch.addmm(self.bias_in.reshape(-1), basis, weight.t()))
        hidden = hidden.view(-1, n_blocks, n_filters).transpose(0, 1)
        return torch.bmm(hidden, self.weight_out.transpose(1, 2))


class InteractionBlock(nn.Module):
    r"""One residual interaction :math:`x \leftarrow x + W_3\, a(W_2 \sum_s (W_1 x)_s w_{ts} + b_2) + b_3`.

    ============  ======================================
    symbol        variable
    ============  ======================================
    :math:`W_1`   `project` [n_filters, n_channels]
    :math:`W_2`   `mix` [n_channels, n_filters] and bias
    :math:`W_3`   `update` [n_channels, n_channels] and bias
    ============  ======================================

    Args:
        config: sizes and activation.
        generator: source of the initial weights.
    """

    def __init__(self, config: SchNetConfig, generator: torch.Generator) -> None:
        super().__init__()
        n_channels, n_filters = config.n_channels, config.n_filters
        self._activation = activation(config.activation)
        self.project = dense(n_channels, n_filters, bias=False, generator=generator)
        self.mix = dense(n_filters, n_channels, bias=True, generator=generator)
        self.update = dense(n_channels, n_channels, bias=True, generator=generator)

    def forward(self, features: Tensor, convolve: Convolution) -> Tensor:
        """Return the new features [n_atoms, n_channels] with messages made by the convolution of this block."""
        return self.respond(features, convolve(self.project(features)))

    def respond(self, features: Tensor, messages: Tensor) -> Tensor:
        """Return the new features from the summed messages [..., n_filters]."""
        out: Tensor = features + self.update(self._activation(self.mix(messages)))
        return out


class SchNet(nn.Module):
    """Energies of atoms from types and distances.

    Source: Schuett et al., doi:10.1063/1.5019779; coarse-grained form: Husic et al., doi:10.1063/5.0026133.

    Args:
        config: sizes and choices.
        seed: seed of the initial weights (Xavier uniform, zero biases, normal embedding).

    Example:
        >>> import torch
        >>> from flashmd.ops import Edges
        >>> network = SchNet(SchNetConfig(n_types=3, n_channels=8, n_filters=4, n_basis=5, n_blocks=1, readout=(4,)))
        >>> edges = Edges.from_pairs(torch.tensor([0, 1]), torch.tensor([1, 0]), 2)
        >>> network(torch.tensor([1, 2]), edges, torch.tensor([0.4, 0.4]), backend="reference").shape
        torch.Size([2])
    """

    def __init__(self, config: SchNetConfig, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.config = config
        self.embedding = nn.utils.skip_init(nn.Embedding, config.n_types, config.n_channels)
        nn.init.normal_(self.embedding.weight, generator=generator)
        self.basis = _make_basis(config)
        self.envelope = make_envelope(config.envelope, config.cutoff_lower, config.cutoff_upper)
        self.filter_network = FilterNetwork(config, generator)
        self.blocks = nn.ModuleList(InteractionBlock(config, generator) for _ in range(config.n_blocks))
        widths = [config.n_channels, *config.readout, 1]
        self.readout = MLP(widths, activation_name=config.activation, generator=generator, last_bias=False)

    def filters(self, distance: Tensor, *, backend: str = "reference") -> Tensor:
        """Return the filters of all blocks, envelope included.

        Args:
            distance: [n], nm.
            backend: "kernel", which has two derivatives, or "reference", see :func:`flashmd.ops.radial_basis`.

        Returns:
            [n_blocks, n, n_filters].
        """
        filters: Tensor = self.filter_network(self.basis(distance, backend=backend))
        envelope: Tensor = self.envelope(distance)
        return filters * envelope[:, None]

    @property
    def filter_form(self) -> FilterForm:
        """Basis, envelope and activation of the filters, for the compiled operators."""
        basis = cast("GaussianBasis | ExpNormalBasis", self.basis)
        return FilterForm(basis.form, self.config.envelope, self.config.activation)

    def filter_weights(self) -> list[FilterWeights]:
        """Return the parameters of the filters of each block, for the compiled operators."""
        network = self.filter_network
        basis = cast("GaussianBasis | ExpNormalBasis", self.basis).centres_and_widths
        blocks = zip(network.weight_in, network.bias_in, network.weight_out, strict=True)
        return [FilterWeights(*basis, *block) for block in blocks]

    def forward(
        self,
        types: Tensor,
        edges: Edges,
        distance: Tensor,
        *,
        half: bool = False,
        table: FilterTable | None = None,
        backend: str = "kernel",
    ) -> Tensor:
        """Return the energy of every atom.

        Args:
            types: [n_atoms], int64.
            edges: directed edges.
            distance: [n_edges], nm.
            half: `edges` holds one edge of each pair (:func:`flashmd.nn.half_edges`), over which both atoms send.
            table: read the filters from this table of the network (:func:`flashmd.nn.tabulate`) instead of evaluating
                them for each edge; needs `half`.
            backend: "kernel" or "reference", see :func:`flashmd.ops.cfconv`.

        Returns:
            [n_atoms], kJ/mol.

        Raises:
            ValueError: a table is given with edges of both directions.
        """
        if table is None:
            convolutions = self._convolutions(edges, distance, half=half, backend=backend)
        elif half:
            convolutions = table.convolutions(edges, distance, backend=backend)
        else:
            got, fix = "both directions", "pass `half_edges(edges)` with `half=True`"
            raise ValueError(message("`edges` with `table`", "one edge of each pair", got, fix))
        features = self.embedding(types)
        for block, convolve in zip(self.blocks, convolutions, strict=True):
            features = block(features, convolve)
        energy: Tensor = self.readout(features)
        return energy.squeeze(-1)

    def energy_and_slope(
        self,
        types: Tensor,
        pairs: Edges,
        distance: Tensor,
        *,
        table: FilterTable | None = None,
        backend: str = "kernel",
    ) -> tuple[Tensor, Tensor]:
        """Return the energy of every atom and the derivative of their sum along every pair.

        Args:
            types: [n_atoms], int64.
            pairs: one edge of each pair, see :func:`flashmd.nn.half_edges`.
            distance: [n_pairs], nm.
            table: read the filters from this table of the network.
            backend: "kernel" or "reference".

        Returns:
            [n_atoms], kJ/mol, and [n_pairs], kJ/mol/nm, without a graph.
        """
        with torch.inference_mode(mode=False), torch.enable_grad():
            leaf = distance.detach().clone().requires_grad_()
            atoms = self(types, pairs, leaf, half=True, table=table, backend=backend)
            (slope,) = torch.autograd.grad(atoms.sum(), leaf, materialize_grads=True)
        return atoms.detach(), slope

    def _convolutions(self, edges: Edges, distance: Tensor, *, half: bool, backend: str) -> Sequence[Convolution]:
        """Return the convolution of each block.

        Over one edge of each pair the compiled operator evaluates filters as it goes and can be differentiated twice.
        Otherwise the filters of all edges are evaluated first, as on a GPU, where that takes less time and more memory.
        """
        if half and backend == "kernel" and not distance.is_cuda:
            return [
                partial(flash_cfconv, distance=distance, weights=weights, form=self.filter_form, edges=edges)
                for weights in self.filter_weights()
            ]

        def convolve(sent: Tensor, filters: Tensor) -> Tensor:
            messages = cfconv(sent, filters, edges, backend=backend)
            return messages + cfconv_transposed(sent, filters, edges, backend=backend) if half else messages

        return [partial(convolve, filters=filters) for filters in self.filters(distance, backend=backend).unbind(0)]


def _make_basis(config: SchNetConfig) -> nn.Module:
    bounds = (config.cutoff_lower, config.cutoff_upper)
    if config.basis == "gaussian":
        return GaussianBasis(
            *bounds, n_basis=config.n_basis, envelope=config.basis_envelope, trainable=config.trainable_basis
        )
    if config.basis == "expnormal":
        return ExpNormalBasis(
            *bounds,
            n_basis=config.n_basis,
            alpha=config.basis_alpha,
            envelope=config.basis_envelope,
            trainable=config.trainable_basis,
        )
    raise ValueError(message("`basis`", "one of 'expnormal', 'gaussian'", repr(config.basis), "choose one of these"))
