"""The configuration of a post-training; field names are the keys of the YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PlainSerializer,
    PositiveFloat,
    PositiveInt,
)

from flashmd.configuration import load_checked
from flashmd.units import parse_quantity


def _kelvin(value: Any) -> float:
    if not isinstance(value, str):
        raise ValueError(f"expected a number with a unit, got {value!r}. To fix it, write for example `{value} K`.")
    return parse_quantity(value, "K")


_Temperature = Annotated[
    float, BeforeValidator(_kelvin), PlainSerializer(lambda value: f"{value!r} K", return_type=str), Field(gt=0.0)
]


class PostTraining(BaseModel):
    """A post-training of a backmapping model by adjoint matching.

    Attributes:
        model: trained model to start from, which is also the frozen base.
        data: structures whose traces are used, a data file or a folder of PDB and mmCIF files.
        validation: held-out structures, of the same kind.
        output: folder for the model, the state and the log.
        force_field: energies that are to fall.
        temperature: T of the tilted law, p(x) exp(-strength E(x) / RT).
        strength: weight of the energy.
        largest_gradient: gradients of strength E / RT are cut off at this length for each atom, 1/nm.
        max_residues: longer chains are left out.
        guided: physical terms take part in the flow, in training and in validation.
        process_steps: steps of the noisy process.
        late_share: share of the steps, at the end, that all count in the loss.
        early_steps: random other steps that count.
        structures: structures drawn in each step of the optimiser.
        steps: steps of the optimiser; a finished post-training goes on when the number is raised.
        learning_rate: it falls linearly to zero.
        average: memory of the moving average of parameters that becomes the model.
        validation_structures: structures drawn for each held-out chain.
        sampling_steps: steps of the flow in validation.
        processes: worker processes for energies; 1 for none.
        failure_limit: largest share of structures that may have no finite energy.
        report_every: steps between validations and saved states.
        seed: of everything random.
        threads: of torch; unset leaves it alone.

    Example:
        >>> config = PostTraining(model="a.safetensors", data="b", validation="c", output="d", temperature="320 K")
        >>> config.temperature, config.force_field
        (320.0, 'amber14-gbn2')
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    data: Path
    validation: Path
    output: Path
    force_field: Literal["amber14-gbn2", "charmm36"] = "amber14-gbn2"
    temperature: _Temperature = 300.0
    strength: PositiveFloat = 0.1
    largest_gradient: PositiveFloat = 100.0
    max_residues: Annotated[int, Field(ge=2)] = 80
    guided: bool = True
    process_steps: Annotated[int, Field(ge=5)] = 25
    late_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.2
    early_steps: PositiveInt = 4
    structures: PositiveInt = 8
    steps: PositiveInt = 500
    learning_rate: PositiveFloat = 5e-5
    average: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.98
    validation_structures: PositiveInt = 4
    sampling_steps: PositiveInt = 20
    processes: PositiveInt = 1
    failure_limit: Annotated[NonNegativeFloat, Field(lt=1.0)] = 0.1
    report_every: PositiveInt = 50
    seed: int = 0
    threads: PositiveInt | None = None

    def to_yaml(self) -> str:
        """Return the resolved configuration as YAML."""
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        return text


def load_config(path: str | Path) -> PostTraining:
    """Read and check a configuration file; relative paths of the model and the data start from its folder.

    Raises:
        ConfigurationError: the file is absent or not YAML, a key is unknown, missing or malformed.
    """
    return load_checked(
        path, PostTraining, example="model: runs/backmap/model.safetensors", inputs=("model", "data", "validation")
    )
