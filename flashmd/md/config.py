"""The configuration of a run: one pydantic model whose field names are the keys of the YAML file.

Quantities are written with units ("4 fs", "300 K", "1 / ps", "20 ns"); inside the model they are numbers in the
internal units of the package. `RunConfig.to_yaml` writes the resolved configuration, which reads back to an equal one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from flashmd.configuration import explain
from flashmd.units import parse_quantity

MAX_TEMPERATURES = 1 << 14
MAX_WALKERS = 1 << 16
"""More would give two replicas the same random numbers, see `flashmd.md.random_streams`."""
FREE_TO_CHANGE = frozenset({"n_steps", "checkpoint_interval", "device", "threads"})
"""Keys that may differ when a run is resumed: none of them changes what an earlier step has written."""
PLACES = frozenset({"model", "structure", "initial", "output"})
"""Keys that name files, which may have moved; their content is compared instead."""


def _reads(unit: str, *, usual: str | None = None) -> BeforeValidator:
    def parse(value: Any) -> float:
        if not isinstance(value, str):
            fix = f"To fix it, write for example `{value} {usual or unit}`."
            raise ValueError(f"expected a number with a unit, got {value!r}. {fix}")
        return parse_quantity(value, unit)

    return BeforeValidator(parse)


def _writes(unit: str) -> PlainSerializer:
    return PlainSerializer(lambda value: f"{value!r} {unit}", return_type=str)


def _positive(value: float) -> float:
    if not 0 < value < float("inf"):
        raise ValueError(f"expected a positive number, got {value:g}. To fix it, write a positive number.")
    return value


Time = Annotated[float, _reads("ps", usual="fs"), _writes("ps"), AfterValidator(_positive)]
Temperature = Annotated[float, _reads("K"), _writes("K"), AfterValidator(_positive)]
Rate = Annotated[float, _reads("1/ps"), _writes("1/ps"), Field(ge=0)]
Interval = Annotated[int, Field(ge=1)]


class Ladder(BaseModel):
    """Temperatures given by their ends.

    Attributes:
        lowest: lowest temperature.
        highest: highest temperature.
        count: number of temperatures.
        geometric: constant ratio of neighbours (default), else constant difference.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lowest: Temperature
    highest: Temperature
    count: Annotated[int, Field(ge=2, le=MAX_TEMPERATURES)]
    geometric: bool = True

    def temperatures(self) -> list[float]:
        """Return the temperatures from the lowest to the highest, K."""
        last = self.count - 1
        if self.geometric:
            inner = [self.lowest * (self.highest / self.lowest) ** (i / last) for i in range(last)]
        else:
            inner = [self.lowest + (self.highest - self.lowest) * i / last for i in range(last)]
        return [*inner, self.highest]


def _expand(value: Any) -> Any:
    if isinstance(value, dict):
        try:
            ladder = Ladder.model_validate(value)
        except ValidationError as error:
            raise ValueError(explain(error, Ladder, prefix="temperatures.")) from None
        return [f"{each!r} K" for each in ladder.temperatures()]
    return [value] if isinstance(value, (str, int, float)) else value


class RunConfig(BaseModel):
    """A molecular dynamics run, possibly of many replicas.

    Attributes:
        model: potential: a file, or the name of a shipped one such as `chignolin-ca`.
        structure: file with the molecule (PDB), which defines beads, bonds and the start where `initial` is empty.
        resolution: beads to make of the structure: `ca` or `five_bead`.
        initial: files with start positions, PDB or NPZ (array `positions` [n_frames, n_beads, 3] in nm). All frames
            together are dealt to the replicas in turn, walker by walker at each temperature.
        output: folder to write.
        temperatures: one temperature, a list that rises, or `{lowest, highest, count, geometric}`.
        walkers: replicas per temperature. Walker w of all temperatures form one ladder; ladders do not mix.
        time_step: integration step.
        friction: friction of the Langevin heat bath; zero is velocity Verlet at constant energy.
        n_steps: number of steps. Either this or `duration`.
        duration: simulated time of each replica.
        exchange_interval: steps between exchange attempts.
        save_interval: steps between saved frames.
        log_interval: steps between lines of log.csv; as `save_interval` by default, so every frame has its energy.
        checkpoint_interval: steps between checkpoints.
        recentre_interval: steps between moves of each replica's centre to the origin, which keep the digits of
            single precision; 0 is never. Only open systems are moved.
        seed: seed of every random number.
        precision: `single` or `double`, of positions, velocities and forces.
        potential: `compiled` reads the filters of networks from tables, whose error is measured before the first step
            and bounded; `exact` evaluates the filter network in every step, which takes much longer.
        device: `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads; torch's default where absent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    structure: Path
    resolution: Literal["ca", "five_bead"] = "ca"
    initial: tuple[Path, ...] = ()
    output: Path
    temperatures: Annotated[tuple[Temperature, ...], BeforeValidator(_expand), Field(min_length=1)]
    walkers: Annotated[int, Field(ge=1, le=MAX_WALKERS)] = 1
    time_step: Time
    friction: Rate = 1.0
    n_steps: Annotated[int, Field(ge=1)]
    exchange_interval: Interval = 1000
    save_interval: Interval = 1000
    log_interval: Interval
    checkpoint_interval: Interval = 50_000
    recentre_interval: Annotated[int, Field(ge=0)] = 10_000
    seed: Annotated[int, Field(ge=0, lt=1 << 63)]
    precision: Literal["single", "double"] = "single"
    potential: Literal["compiled", "exact"] = "compiled"
    device: str = "cpu"
    threads: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if "duration" in data:
            if "n_steps" in data:
                raise ValueError("expected either `n_steps` or `duration`, got both. To fix it, delete one of the two.")
            # Without a time step only that is reported.
            data["n_steps"] = _steps(data["duration"], data["time_step"]) if "time_step" in data else 1
            del data["duration"]
        elif "n_steps" not in data:
            raise ValueError(
                "expected `n_steps` or `duration`, got neither. To fix it, add for example `duration: 20 ns`."
            )
        data.setdefault("log_interval", data.get("save_interval", cls.model_fields["save_interval"].default))
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        rising = all(low < high for low, high in zip(self.temperatures[:-1], self.temperatures[1:], strict=True))
        if not rising:
            held = ", ".join(f"{each:g} K" for each in self.temperatures)
            fix = "To fix it, sort them and drop repeated ones."
            raise ValueError(f"expected `temperatures` to rise, got {held}. {fix}")
        if len(self.temperatures) > MAX_TEMPERATURES:
            got = len(self.temperatures)
            raise ValueError(f"expected at most {MAX_TEMPERATURES} temperatures, got {got}. To fix it, use `walkers`.")
        return self

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of positions, velocities and forces."""
        return torch.float32 if self.precision == "single" else torch.float64

    @property
    def n_replicas(self) -> int:
        """Number of replicas: temperatures times walkers."""
        return len(self.temperatures) * self.walkers

    def resolved(self) -> dict[str, Any]:
        """Return all keys as plain values with units."""
        values: dict[str, Any] = json.loads(self.model_dump_json())
        return values

    def to_yaml(self) -> str:
        """Return the resolved configuration as YAML."""
        return str(yaml.safe_dump(self.resolved(), sort_keys=False, allow_unicode=True))


def _steps(duration: Any, time_step: Any) -> Any:
    if not (isinstance(duration, str) and isinstance(time_step, str)):
        missing = "duration" if not isinstance(duration, str) else "time_step"
        raise ValueError(f"expected `{missing}` with a unit. To fix it, write for example `{missing}: 20 ns`.")
    return max(1, round(parse_quantity(duration, "ps") / _positive(parse_quantity(time_step, "ps"))))
