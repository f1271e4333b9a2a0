r"""Replica exchange of temperatures.

Neighbouring temperatures of a ladder are exchanged, not the configurations that hold them, so no coordinate, force or
neighbour list is touched. Even and odd pairs take turns. A pair (a, b) is accepted when

.. math:: \ln u < (\beta_a - \beta_b)(U_a - U_b),

which needs no exponential and cannot overflow. The velocities of a configuration that moves from T to T' are multiplied
by :math:`\sqrt{T'/T}`.

=================================  ======================================================
symbol                             variable
=================================  ======================================================
:math:`\beta = 1/(k_B T)`          `ladder.inverse_temperature`
:math:`U`                          `state.energy`
:math:`u`                          `uniform`, keyed by seed, pair, walker and step
=================================  ======================================================

Source: Y. Sugita, Y. Okamoto, Chem. Phys. Lett. 314, 141 (1999), doi:10.1016/S0009-2614(99)01123-9; the rescaling is
its equation 12.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.md.random_streams import exchange_streams
from flashmd.md.state import MDState
from flashmd.ops import philox_uniform
from flashmd.units import BOLTZMANN


@dataclass(frozen=True)
class Exchanges:
    """Which replica holds which temperature, and how often exchanges succeeded.

    Replica r starts at temperature ``r // n_walkers`` and belongs to walker ``r % n_walkers`` for good: walker w of all
    temperatures form one ladder, and ladders are independent of each other.

    Attributes:
        holder: [n_temperatures, n_walkers], int64, replica at each temperature of each ladder.
        proposed: [n_temperatures - 1], int64, proposed exchanges of each pair of neighbours, all walkers together.
        accepted: [n_temperatures - 1], int64, accepted ones.
    """

    holder: Tensor
    proposed: Tensor
    accepted: Tensor

    def temperature_index(self) -> Tensor:
        """Return the index of the temperature of each replica, [n_replicas] int64."""
        n_temperatures, n_walkers = self.holder.shape
        index = torch.empty_like(self.holder).reshape(-1)
        rung = torch.arange(n_temperatures, device=index.device)[:, None].expand(-1, n_walkers)
        index[self.holder.reshape(-1)] = rung.reshape(-1)
        return index


@dataclass(frozen=True)
class TemperatureLadder:
    """Temperatures, walkers and the rule that exchanges them.

    Attributes:
        temperatures: K, rising.
        n_walkers: replicas per temperature.
        seed: seed of the run.
        backend: implementation of the random numbers, "kernel" or "reference".
        device: of all tensors.

    Example:
        >>> from flashmd.md import TemperatureLadder
        >>> ladder = TemperatureLadder([300.0, 330.0], n_walkers=2, seed=1)
        >>> ladder.init().temperature_index().tolist()
        [0, 0, 1, 1]
    """

    temperatures: Sequence[float]
    n_walkers: int = 1
    seed: int = 0
    backend: str = "kernel"
    device: torch.device | str = "cpu"
    values: Tensor = dataclasses.field(init=False, repr=False)
    inverse_temperature: Tensor = dataclasses.field(init=False, repr=False)
    streams: Tensor = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip(self.temperatures[:-1], self.temperatures[1:], strict=True))
        if not self.temperatures or not rising or self.temperatures[0] <= 0:
            fix = "sort them and drop repeated ones"
            raise ValueError(message("`temperatures`", "positive, rising numbers", f"{list(self.temperatures)}", fix))
        if self.n_walkers < 1:
            raise ValueError(message("`n_walkers`", "at least 1", f"{self.n_walkers}", "pass a positive number"))
        values = torch.tensor(list(self.temperatures), dtype=torch.float64, device=self.device)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "inverse_temperature", 1.0 / (BOLTZMANN * values))
        streams = exchange_streams(len(self.temperatures), self.n_walkers).to(self.device)
        object.__setattr__(self, "streams", streams)

    @property
    def n_temperatures(self) -> int:
        """Number of temperatures."""
        return len(self.temperatures)

    def init(self) -> Exchanges:
        """Return the start: replica ``t * n_walkers + w`` holds temperature t in ladder w."""
        count = self.n_temperatures * self.n_walkers
        pairs = torch.zeros(self.n_temperatures - 1, dtype=torch.int64, device=self.device)
        holder = torch.arange(count, device=self.device).reshape(self.n_temperatures, self.n_walkers)
        return Exchanges(holder=holder, proposed=pairs, accepted=pairs.clone())

    def step(self, state: MDState, exchanges: Exchanges, *, attempt: int) -> tuple[MDState, Exchanges]:
        """Attempt one round of exchanges.

        Args:
            state: replicas at their present positions with up-to-date energies.
            exchanges: record to continue.
            attempt: number of this round; even rounds exchange pairs (0, 1), (2, 3) ..., odd ones (1, 2), (3, 4) ....

        Returns:
            State with new temperatures and rescaled velocities, and the new record.
        """
        # With two temperatures there is no odd pair, so the only pair is tried every time.
        first = attempt % 2 if self.n_temperatures > 2 else 0
        low = torch.arange(first, self.n_temperatures - 1, 2, device=self.device)
        if low.numel() == 0:
            return state, exchanges
        accept = self._accept(state, exchanges.holder, low)
        colder, hotter = exchanges.holder[low], exchanges.holder[low + 1]
        holder = exchanges.holder.clone()
        holder[low] = torch.where(accept, hotter, colder)
        holder[low + 1] = torch.where(accept, colder, hotter)
        proposed, accepted = exchanges.proposed.clone(), exchanges.accepted.clone()
        proposed[low] += self.n_walkers
        accepted[low] += accept.sum(1)
        updated = Exchanges(holder=holder, proposed=proposed, accepted=accepted)
        return _move(state, self.values[updated.temperature_index()]), updated

    def _accept(self, state: MDState, holder: Tensor, low: Tensor) -> Tensor:
        """[n_pairs, n_walkers], bool. A comparison with a NaN energy is false, hence a refusal."""
        energy, beta = state.energy[holder], self.inverse_temperature
        log_ratio = (beta[low] - beta[low + 1])[:, None] * (energy[low] - energy[low + 1])
        streams = self.streams[low]
        uniform = philox_uniform(
            self.seed, streams.reshape(-1), state.step, 1, dtype=torch.float64, backend=self.backend
        )
        return uniform.reshape(streams.shape).log() < log_ratio


def _move(state: MDState, temperature: Tensor) -> MDState:
    scale = (temperature / state.temperature).sqrt().to(state.velocities.dtype)
    moved = state.with_temperature(temperature)
    return dataclasses.replace(moved, velocities=state.velocities * scale[state.system.batch][:, None])
