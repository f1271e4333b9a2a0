"""Translate a described SchNet: weights by position in the tree, lengths and energies folded into them in float64.

Distances reach the network in nm instead of angstrom. The exponential basis keeps its means and widths, which have no
unit, and takes its decay per nm; Gaussian centres and widths are rescaled. The last layer of the readout carries the
factor from kcal/mol to kJ/mol, so the energy is the same number in other units.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flashmd.nn import SchNet, SchNetConfig
from flashmd.potential.mlcg_import.tree import Module, refuse
from flashmd.units import ANGSTROM, KCAL

SCHNET_CLASSES = frozenset({"StandardSchNet", "SchNet"})
"""Network classes that are translated."""
_ACTIVATIONS = {"Tanh": "tanh", "SiLU": "silu"}
_BASES = {"ExpNormalBasis": "expnormal", "GaussianBasis": "gaussian"}
_ENVELOPES = {"CosineCutoff": "cosine", "IdentityCutoff": "identity"}
_SUMS = frozenset({"add", "sum"})
# Fixed bases were computed in float32, trained ones may hold anything.
_BASIS_TOLERANCE = 1e-5
# Decay constants are recomputed by the file's software from the same two floats; only rounding may differ.
_DECAY_TOLERANCE = 1e-6


def translate_schnet(module: Module) -> SchNet:
    """Return the network with the weights of the file, in float64, nm and kJ/mol.

    Raises:
        CheckpointError: a part has no counterpart here; the message names it.
    """
    module.expect(*SCHNET_CLASSES)
    layout = {"embedding_layer", "rbf_layer", "interaction_blocks", "output_network"}
    extra = set(module.children()) - layout
    if extra:
        name = min(extra)
        refuse(f"{module.path}.{name}", "no such module", f"`{module.children()[name].class_path}`")
    if module.attribute("self_interaction"):
        refuse(f"{module.path}.self_interaction", "False", "True")
    config = _config(module)
    if not config.trainable_basis:
        _check_fixed_basis(module.child("rbf_layer"), config)
    network = SchNet(config).to(torch.float64)
    state = _state(module, config)
    for name, value in network.state_dict().items():
        if state[name].shape != value.shape:
            refuse(module.path, f"`{name}` of shape {tuple(value.shape)}", f"{tuple(state[name].shape)}")
    network.load_state_dict(state)
    return network


def _config(module: Module) -> SchNetConfig:
    basis, blocks = module.child("rbf_layer"), list(module.child("interaction_blocks").children().values())
    basis.expect(*_BASES)
    kind = _BASES[basis.node.origin.name]
    if not blocks:
        refuse(f"{module.path}.interaction_blocks", "at least one block", "none")
    lower, upper, basis_envelope = _cutoff(basis.child("cutoff"))
    envelopes = {_cutoff(block.child("conv").child("cutoff")) for block in blocks}
    if len(envelopes) != 1 or next(iter(envelopes))[:2] != (lower, upper):
        refuse(f"{module.path}.interaction_blocks", f"cutoffs {lower} and {upper} as in the basis", f"{envelopes}")
    readout = _linear_layers(module.child("output_network"))
    n_types, n_channels = module.child("embedding_layer").tensor("weight").shape
    return SchNetConfig(
        n_types=n_types,
        n_channels=n_channels,
        n_filters=blocks[0].child("conv").child("lin1").tensor("weight").shape[0],
        n_basis=basis.tensor("means" if kind == "expnormal" else "offset").numel(),
        basis=kind,
        cutoff_lower=lower * ANGSTROM,
        cutoff_upper=upper * ANGSTROM,
        basis_envelope=basis_envelope,
        basis_alpha=_decay(basis, lower, upper) if kind == "expnormal" else None,
        trainable_basis=bool(basis.attribute("trainable")),
        envelope=next(iter(envelopes))[2],
        n_blocks=len(blocks),
        readout=tuple(layer.tensor("weight").shape[0] for layer in readout[:-1]),
        activation=_activation(module, blocks),
    )


def _cutoff(module: Module) -> tuple[float, float, str]:
    """Return the bounds in angstrom and the kind of an envelope."""
    module.expect(*_ENVELOPES)
    lower, upper = module.number("cutoff_lower"), module.number("cutoff_upper")
    if not 0.0 <= lower < upper:
        refuse(module.path, "0 <= cutoff_lower < cutoff_upper", f"{lower} and {upper}")
    return lower, upper, _ENVELOPES[module.node.origin.name]


def _decay(basis: Module, lower: float, upper: float) -> float:
    """Return the decay of the exponential basis in 1/nm."""
    alpha, expected = basis.number("alpha"), 5.0 / (upper - lower)
    if not math.isclose(alpha, expected, rel_tol=_DECAY_TOLERANCE):
        refuse(f"{basis.path}.alpha", f"5 / (cutoff_upper - cutoff_lower) = {expected:g}", f"{alpha:g}")
    return alpha / ANGSTROM


def _check_fixed_basis(basis: Module, config: SchNetConfig) -> None:
    """Refuse a basis that was not trained and yet differs from the one its cutoffs define."""
    lower, upper, n_basis = config.cutoff_lower / ANGSTROM, config.cutoff_upper / ANGSTROM, config.n_basis
    if config.basis == "expnormal":
        start = math.exp(lower - upper)
        width = 2.0 / n_basis * (1.0 - start)
        ones = torch.ones(n_basis, dtype=torch.float64)
        expected = {"means": torch.linspace(start, 1.0, n_basis, dtype=torch.float64), "betas": ones / width**2}
    else:
        offset = torch.linspace(lower, upper, n_basis, dtype=torch.float64)
        expected = {"offset": offset, "coeff": -0.5 / (offset[1] - offset[0]) ** 2}
    for name, values in expected.items():
        found = basis.tensor(name, tuple(values.shape))
        error = float((found - values).abs().max() / values.abs().max())
        if error > _BASIS_TOLERANCE:
            expected_by = f"the values that belong to cutoffs {lower:g} and {upper:g}"
            refuse(f"{basis.path}.{name}", expected_by, f"a relative deviation of {error:.1e}")


def _activation(module: Module, blocks: list[Module]) -> str:
    found = {block.child("activation").class_path for block in blocks}
    networks = [block.child("conv").child("filter_network") for block in blocks] + [module.child("output_network")]
    for network in networks:
        layers = network.child("layers").children().values()
        found |= {layer.class_path for layer in layers if not layer.is_torch("Linear")}
    names = {path.rsplit(".", 1)[-1] for path in found if path.startswith("torch.nn.")}
    if len(found) != 1 or len(names) != 1 or not names <= set(_ACTIVATIONS):
        refuse(module.path, f"one activation of {', '.join(_ACTIVATIONS)}", ", ".join(sorted(found)))
    return _ACTIVATIONS[names.pop()]


def _linear_layers(network: Module) -> list[Module]:
    """Return the linear layers of a perceptron after verifying that they alternate with activations."""
    network.expect("MLP")
    layers = list(network.child("layers").children().values())
    for index, layer in enumerate(layers):
        if (index % 2 == 0) != layer.is_torch("Linear"):
            refuse(layer.path, "linear layers and activations in turn", f"`{layer.class_path}`")
    if len(layers) < 3 or len(layers) % 2 == 0:
        refuse(network.path, "at least two linear layers, the last at the end", f"{len(layers)} layers")
    if layers[-1].entry("bias") is not None:
        refuse(f"{layers[-1].path}.bias", "no bias in the last layer", "one")
    return layers[::2]


def _state(module: Module, config: SchNetConfig) -> dict[str, Tensor]:
    """Return the state dictionary of our network."""
    embedding, basis = module.child("embedding_layer"), module.child("rbf_layer")
    embedding.expect("Embedding")
    state = {"embedding.weight": embedding.tensor("weight")}
    if config.basis == "expnormal":
        state |= {"basis.means": basis.tensor("means"), "basis.betas": basis.tensor("betas")}
    else:
        state["basis.offset"] = basis.tensor("offset") * ANGSTROM
        state["basis.coeff"] = basis.tensor("coeff") / ANGSTROM**2
    filters: dict[str, list[Tensor]] = {"weight_in": [], "bias_in": [], "weight_out": []}
    n_filters = config.n_filters
    for index, block in enumerate(module.child("interaction_blocks").children().values()):
        block.expect("InteractionBlock")
        conv, prefix = _convolution(block), f"blocks.{index}"
        first, last = _two_layers(conv.child("filter_network"))
        filters["weight_in"].append(first.tensor("weight", (n_filters, config.n_basis)))
        filters["bias_in"].append(first.tensor("bias", (n_filters,)))
        filters["weight_out"].append(last.tensor("weight", (n_filters, n_filters)))
        state[f"{prefix}.project.weight"] = conv.child("lin1").tensor("weight")
        for ours, theirs in (("mix", conv.child("lin2")), ("update", block.child("lin"))):
            state[f"{prefix}.{ours}.weight"] = theirs.tensor("weight")
            state[f"{prefix}.{ours}.bias"] = theirs.tensor("bias")
    state |= {f"filter_network.{name}": torch.stack(values) for name, values in filters.items()}
    return state | _readout_state(module.child("output_network"))


def _convolution(block: Module) -> Module:
    conv = block.child("conv")
    conv.expect("CFConv")
    for name in ("lin1", "lin2"):
        conv.child(name).expect("Linear")
    block.child("lin").expect("Linear")
    if conv.attribute("aggr") not in _SUMS:
        refuse(f"{conv.path}.aggr", "the sum over neighbours", repr(conv.attribute("aggr")))
    if conv.child("lin1").entry("bias") is not None:
        refuse(f"{conv.path}.lin1.bias", "no bias", "one")
    return conv


def _two_layers(network: Module) -> tuple[Module, Module]:
    layers = _linear_layers(network)
    if len(layers) != 2:
        refuse(network.path, "two linear layers", f"{len(layers)}")
    return layers[0], layers[1]


def _readout_state(network: Module) -> dict[str, Tensor]:
    layers = _linear_layers(network)
    state = {}
    for index, layer in enumerate(layers[:-1]):
        state[f"readout.layers.{index}.weight"] = layer.tensor("weight")
        state[f"readout.layers.{index}.bias"] = layer.tensor("bias")
    last = layers[-1].tensor("weight")
    if last.shape[0] != 1:
        refuse(layers[-1].path, "one energy for each bead", f"{last.shape[0]}")
    state[f"readout.layers.{len(layers) - 1}.weight"] = last * KCAL
    return state
