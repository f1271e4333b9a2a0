"""The configuration of a training: pydantic models whose field names are the keys of the YAML file.

Quantities carry units ("1.5 nm", "300 K"). Unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from flashmd.configuration import explain, load_checked
from flashmd.errors import ConfigurationError, message
from flashmd.nn import SchNetConfig
from flashmd.train.epochs import TrainingSettings
from flashmd.units import parse_quantity

_Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


def _quantity(unit: str) -> tuple[BeforeValidator, PlainSerializer]:
    def parse(value: Any) -> float:
        if not isinstance(value, str):
            raise ValueError(
                f"expected a number with a unit, got {value!r}. To fix it, write for example `{value} {unit}`."
            )
        return parse_quantity(value, unit)

    return BeforeValidator(parse), PlainSerializer(lambda value: f"{value!r} {unit}", return_type=str)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SplitConfig(_Section):
    """How whole trajectories are divided.

    Attributes:
        validation_fraction: share that stops the training and chooses the best epoch.
        test_fraction: share that is looked at once, at the end; 0 for none.
    """

    validation_fraction: _Fraction = 0.15
    test_fraction: _Fraction = 0.0


class PriorConfig(_Section):
    """Terms fitted by Boltzmann inversion before the network.

    Attributes:
        dihedral_degree: harmonics of the dihedrals; 0 for no dihedral term.
        repulsion_percentile: percentile of the distances at which the repulsion is 1 kcal/mol.
    """

    dihedral_degree: Annotated[int, Field(ge=0, le=12)] = 5
    repulsion_percentile: Annotated[float, Field(ge=0.0, le=50.0)] = 1.0


class NetworkConfig(_Section):
    """Sizes of the SchNet, see `flashmd.nn.SchNetConfig`.

    Attributes:
        n_channels: features of a bead.
        n_filters: features of a filter.
        n_basis: radial basis functions.
        basis: kind of radial basis.
        cutoff: interaction range.
        n_blocks: interaction blocks.
        readout: hidden widths of the readout.
        activation: nonlinearity.
    """

    n_channels: PositiveInt = 64
    n_filters: PositiveInt = 64
    n_basis: PositiveInt = 32
    basis: Literal["expnormal", "gaussian"] = "expnormal"
    cutoff: Annotated[PositiveFloat, *_quantity("nm")] = 1.5
    n_blocks: PositiveInt = 2
    readout: tuple[PositiveInt, ...] = (64, 32)
    activation: Literal["tanh", "ssp", "silu"] = "tanh"

    def schnet(self, n_types: int) -> SchNetConfig:
        """Return the configuration of the network for `n_types` bead types."""
        sizes = self.model_dump(exclude={"cutoff"})
        return SchNetConfig(n_types=n_types, cutoff_upper=self.cutoff, **sizes)


class OptimizerConfig(_Section):
    """How the network is optimised, see `flashmd.train.TrainingSettings`.

    Attributes:
        epochs: largest number of passes over the training frames.
        batch_size: frames of one step.
        learning_rate: largest rate.
        weight_decay: of AdamW.
        warmup_steps: steps over which the rate rises.
        gradient_clip: largest norm of the gradient.
        average_decay: of the moving average of the parameters.
        patience: epochs without progress before stopping.
        filters: "table" evaluates the filter network at `n_knots` distances for each batch, "exact" for each pair.
        n_knots: distances of the table, from zero to the cutoff.
    """

    epochs: PositiveInt = 100
    batch_size: PositiveInt = 512
    learning_rate: PositiveFloat = 1e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    gradient_clip: PositiveFloat = 10.0
    average_decay: _Fraction = 0.995
    patience: PositiveInt = 20
    filters: Literal["table", "exact"] = "table"
    n_knots: Annotated[int, Field(ge=65, le=65537)] = 769


class TrainConfig(_Section):
    """A training.

    Attributes:
        dataset: npz file of mapped frames; a relative path starts from the folder of the configuration file.
        output: folder to write.
        lowest_temperature: frames below are left out.
        highest_temperature: frames above are left out.
        seed: of the split, the initial weights and the shuffling.
        threads: CPU threads; torch's default where absent.
        split: division of the trajectories.
        energy_length: train on energies and forces of many molecules instead of mapped forces of one; an error of the
            energy of an atom, divided by this length, counts like a force error. Atomic energies replace the priors.
        priors: terms fitted before the network.
        network: sizes of the network.
        optimizer: how it is optimised.
    """

    dataset: Path
    output: Path
    lowest_temperature: Annotated[PositiveFloat, *_quantity("K")] | None = None
    highest_temperature: Annotated[PositiveFloat, *_quantity("K")] | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    threads: PositiveInt | None = None
    energy_length: Annotated[PositiveFloat, *_quantity("nm")] | None = None
    split: SplitConfig = SplitConfig()
    priors: PriorConfig = PriorConfig()
    network: NetworkConfig = NetworkConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        lowest, highest = self.lowest_temperature or 0.0, self.highest_temperature or float("inf")
        if lowest > highest:
            fix = "exchange `lowest_temperature` and `highest_temperature`"
            raise ValueError(message("temperatures", "lowest <= highest", f"{lowest:g} K > {highest:g} K", fix))
        if self.energy_length is not None and "priors" in self.model_fields_set:
            fix = "delete the section `priors`, or `energy_length`"
            raise ValueError(message("`priors` with `energy_length`", "one of them", "both", fix))
        return self

    def settings(self) -> TrainingSettings:
        """Return the settings of the trainer."""
        return TrainingSettings(seed=self.seed, **self.optimizer.model_dump())

    def resolved(self) -> dict[str, Any]:
        """Return all keys as plain values with units."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the resolved configuration as YAML."""
        text: str = yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True)
        return text


def load_config(path: str | Path) -> TrainConfig:
    """Read and check a configuration file.

    Args:
        path: YAML file. A relative `dataset` starts from its folder, `output` from the current directory.

    Raises:
        ConfigurationError: the file is absent or not YAML, a key is unknown, missing or malformed.
    """
    return load_checked(path, TrainConfig, example="dataset: chignolin_ca.npz", inputs=("dataset",))


def parse_config(data: Mapping[str, Any], source: str = "the configuration") -> TrainConfig:
    """Check a mapping of keys and values; paths are left as they are.

    Raises:
        ConfigurationError: a key is unknown, missing or malformed.
    """
    try:
        return TrainConfig.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigurationError(f"{source}: {explain(error, TrainConfig)}") from None
