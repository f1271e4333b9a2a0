"""The configuration of the training of a backmapping model; field names are the keys of the YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from flashmd.backmap.atom_network import AtomNetworkConfig
from flashmd.backmap.network import NetworkConfig
from flashmd.configuration import load_checked


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkSection(_Section):
    """Sizes of the network of residues, see `NetworkConfig`."""

    kind: Literal["residues"] = "residues"
    width: PositiveInt = NetworkConfig.width
    edge_width: PositiveInt = NetworkConfig.edge_width
    n_layers: PositiveInt = NetworkConfig.n_layers
    n_neighbors: PositiveInt = NetworkConfig.n_neighbors
    n_conformers: PositiveInt = NetworkConfig.n_conformers
    spread: PositiveFloat = NetworkConfig.spread
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = NetworkConfig.dropout

    def config(self) -> NetworkConfig:
        """Return the sizes as the network takes them."""
        return NetworkConfig(**self.model_dump(exclude={"kind"}))


class AtomNetworkSection(_Section):
    """Sizes of the published network of atoms, see `AtomNetworkConfig`."""

    kind: Literal["atoms"]
    width: PositiveInt = AtomNetworkConfig.width
    n_layers: PositiveInt = AtomNetworkConfig.n_layers
    n_neighbors: PositiveInt = AtomNetworkConfig.n_neighbors
    noise: PositiveFloat = AtomNetworkConfig.noise

    def config(self) -> AtomNetworkConfig:
        """Return the sizes as the network takes them."""
        return AtomNetworkConfig(**self.model_dump(exclude={"kind"}))


class BackmapTraining(_Section):
    """A training of a backmapping model.

    Attributes:
        data: structures to train on, a data file or a folder of PDB and mmCIF files.
        validation: structures to judge the model by, of the same kind.
        output: folder for the model, the state and the log.
        network: sizes of the network.
        steps: steps of the optimiser; a finished training goes on when the number is raised.
        decay: share of the steps, at the end, over which the learning rate falls to zero.
        learning_rate: before it falls.
        weight_decay: share of the parameters taken off in a step, in units of the learning rate.
        trace_noise: nm, largest standard deviation of the displacements of the C-alphas as residues see them of each
            other.
        average: memory of the moving average of parameters that becomes the model.
        batch_residues: residues in a step, at least so many.
        crop_residues: longer proteins are cropped to the residues closest to a random one.
        precision: of the network's arithmetic; parameters are float32.
        compile: let `torch.compile` build the network, which takes minutes and a C++ compiler and makes steps faster.
        report_every: steps between validations and saved states.
        seed: of parameters, order and noise.
        threads: of torch; unset leaves it alone.
    """

    data: Path
    validation: Path
    output: Path
    network: NetworkSection | AtomNetworkSection = NetworkSection()
    steps: PositiveInt = 20_000
    decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.3
    learning_rate: PositiveFloat = 1e-3
    average: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.05
    trace_noise: Annotated[float, Field(ge=0.0)] = 0.02
    batch_residues: PositiveInt = 300
    crop_residues: PositiveInt = 150
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    compile: bool = False
    report_every: PositiveInt = 250
    seed: int = 0
    threads: PositiveInt | None = None

    def to_yaml(self) -> str:
        """Return the resolved configuration as YAML."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        return text


def load_config(path: str | Path) -> BackmapTraining:
    """Read and check a configuration file; relative data paths start from its folder.

    Raises:
        ConfigurationError: the file is absent or not YAML, a key is unknown, missing or malformed.
    """
    return load_checked(path, BackmapTraining, example="data: train_chains.npz", inputs=("data", "validation"))
