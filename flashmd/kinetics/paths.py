r"""Paths that run until they are absorbed, and the payoffs that correct a surrogate.

For the solution :math:`u(x) = E[\Phi(X_\tau) + \int_0^\tau s\,dr]` and any surrogate :math:`\hat u`, Ito's formula
gives

.. math::
    u(x) = E\Big[\Phi(X_\tau) + \int_0^\tau s\,dr - \int_0^\tau \nabla\hat u\cdot\sigma\,dW\Big]
         = \hat u(x) + E\Big[(\Phi - \hat u)(X_\tau) + \int_0^\tau (L\hat u + s)\,dr\Big],

the martingale and the residual form. In the first one the sum over steps has mean zero for any step and any surrogate.
In the second one the last step into a set is taken in martingale form: a surrogate that is clamped to its boundary
value has a kink there, which the point behind the boundary would see.
Rows of a pool advance together; those that have ended make room for the next. A random number is a function of seed,
point, draw and the path's own step, so neither the pool nor the order of the points matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.errors import message
from flashmd.kinetics.dynamics import Dynamics, Step
from flashmd.kinetics.pool import Payoffs, Pool, Starts
from flashmd.kinetics.problem import StoppedProblem, overlap
from flashmd.kinetics.sets import Exits
from flashmd.kinetics.settings import BLOCK, PathSettings
from flashmd.ops import philox_normal
from flashmd.pde.streams import mix, uniforms
from flashmd.pde.surrogate import Surrogate

_ALIVE, _HORIZON, _TRUNCATED, _KILLED = -1, -2, -3, -4
_NOISE, _ROULETTE, _START, _EXIT = 1, 2, 3, 4
_OTHERS = 16


@dataclass(frozen=True)
class Simulator:
    """Run paths of a problem.

    Attributes:
        dynamics: equation of motion.
        problem: what paths earn.
        surrogate: of time left and point, or None.
        settings: of the paths.
    """

    dynamics: Dynamics
    problem: StoppedProblem
    surrogate: Surrogate | None
    settings: PathSettings

    def run(self, starts: Starts) -> Payoffs:
        """Run one path from each start until all have ended.

        Raises:
            ValueError: the potential, the surrogate or a level is not finite on a path (the message names it), or a
                path reached a point that two sets share.
        """
        rows, d = starts.x.shape
        capacity = max(1, self.settings.largest_tensor // d)
        result = Payoffs(
            defect=torch.zeros_like(starts.before),
            control=torch.zeros_like(starts.before),
            excess=torch.zeros_like(starts.before),
            steps=torch.zeros_like(starts.key),
            truncated=torch.zeros(rows, dtype=torch.bool, device=starts.x.device),
        )
        pool, begun = self._begin(starts, 0, min(rows, capacity)), min(rows, capacity)
        while len(pool.row):
            self._advance(pool)
            self._play_roulette(pool)
            ended = (pool.exit != _ALIVE).nonzero()[:, 0]
            if len(ended):
                self._finish(pool.select(ended), result)
                pool = pool.select((pool.exit == _ALIVE).nonzero()[:, 0])
                free = min(capacity - len(pool.row), rows - begun)
                if free:
                    pool, begun = pool.join(self._begin(starts, begun, free)), begun + free
        return result

    def _begin(self, starts: Starts, first: int, count: int) -> Pool:
        chosen = slice(first, first + count)
        x, key, sign = starts.x[chosen], starts.key[chosen], starts.sign[chosen]
        martingale = self.surrogate is not None and self.settings.form == "martingale"
        velocity, control = torch.zeros_like(x), torch.zeros_like(sign)
        if starts.velocity is not None:
            velocity = starts.velocity[chosen]
        elif self.dynamics.has_velocities:
            velocity = self._drawn_velocity(key, sign, 0, x)
            control = self._gain_of_velocity(key, sign, x, velocity)
        return Pool(
            row=torch.arange(first, first + count, device=x.device),
            key=key,
            sign=sign,
            age=torch.zeros_like(key),
            exit=torch.full_like(key, _ALIVE),
            distance=self._exits().distances(x),
            value=-starts.before[chosen] if martingale else torch.zeros_like(sign),
            control=control,
            weight=torch.ones_like(sign),
            state=self.dynamics.start(x, velocity),
        )

    def _drawn_velocity(self, key: Tensor, sign: Tensor, number: int, x: Tensor) -> Tensor:
        drawn = self._normals(mix(key + _START), number, x.shape[1])
        return self.dynamics.thermal_speed.to(x) * sign[:, None] * drawn

    def _gain_of_velocity(self, key: Tensor, sign: Tensor, x: Tensor, velocity: Tensor) -> Tensor:
        """Surrogate of the drawn velocity minus its mean over others, [n]: of mean zero, as the noise of steps is."""
        if self.surrogate is None:
            return torch.zeros_like(sign)
        left = torch.full_like(sign, self.problem.horizon or 0.0)
        others = [self._drawn_velocity(key, sign, number, x) for number in range(1, _OTHERS + 1)]
        values = [self.surrogate.value(left, torch.cat([x, each], 1)).detach() for each in (velocity, *others)]
        return values[0] - torch.stack(values[1:]).mean(0)

    def _normals(self, keys: Tensor, counter: int, d: int) -> Tensor:
        return philox_normal(self.settings.seed, keys, counter, d, dtype=torch.float64)

    def _exits(self) -> Exits:
        noise = self.dynamics.noise
        time_step, _ = self.problem.clock(self.settings.time_step)
        kind = self.settings.exits if bool((noise > 0.0).any()) else "steps"
        return Exits(self.problem.sets, math.sqrt(time_step) * noise, kind)

    def _advance(self, pool: Pool) -> None:
        """Take a block of steps, in place; a path that ends stays where it is."""
        time_step, last = self.problem.clock(self.settings.time_step)
        limit = self.settings.max_steps if last is None else min(last, self.settings.max_steps)
        end = _HORIZON if limit == last else _TRUNCATED
        exits, keys = self._exits(), mix(pool.key ^ mix(pool.age + _NOISE))
        doors = mix(keys + _EXIT)
        for number in range(BLOCK):
            alive = pool.exit == _ALIVE
            draws = pool.sign[:, None] * self._normals(keys, number, pool.state[0].shape[1])
            step = self.dynamics.step(pool.state, time_step, draws)
            distance = exits.distances(step.state[0])
            which = exits.find(pool.distance, distance, uniforms(self.settings.seed, doors, number))
            share = exits.share(pool.distance, distance, which) if self.problem.running else 1.0
            left = self._time_left(pool.age, time_step)
            gain, control = self._gain(step, which >= 0, left, time_step)
            gain = gain + self.problem.running * time_step * share
            now = torch.where(alive, pool.weight, 0.0)
            pool.value = pool.value + now * gain
            if control is not None:
                pool.control = pool.control + now * control
            pairs = zip(step.state, pool.state, strict=True)
            pool.state = tuple(torch.where(alive[:, None], new, old) for new, old in pairs)
            pool.distance = torch.where(alive[:, None], distance, pool.distance)
            pool.age = pool.age + alive.to(pool.age)
            which = torch.where((which < 0) & (pool.age >= limit), end, which)
            pool.exit = torch.where(alive, which, pool.exit)
        _check_finite("potential", pool.state[0])
        _check_finite("level", pool.distance)
        _check_finite("surrogate", pool.value + pool.control)
        if bool(((pool.distance <= 0.0).sum(1) > 1).any()):
            raise overlap("a path that reached a point of both")

    def _time_left(self, age: Tensor, time_step: float) -> Tensor:
        if self.problem.horizon is None:
            return torch.zeros_like(age, dtype=torch.float64)
        return self.problem.horizon - time_step * age.to(torch.float64)

    def _gain(self, step: Step, ends: Tensor, left: Tensor, time_step: float) -> tuple[Tensor | float, Tensor | None]:
        """What a step earns by the surrogate, and what it adds to the sum of mean zero, [n] each."""
        if self.surrogate is None:
            return 0.0, None
        if self.settings.form == "martingale":
            slope = self.surrogate.gradient(left, step.before).gradient
            return 0.0, (slope * step.kick).sum(1)
        sigma = self.dynamics.noise.to(left).expand(step.before.shape[1])[None]
        jet = self.surrogate.jet(left, step.before, sigma)
        assert jet.second is not None  # noqa: S101 - `jet` always has it
        generator = (self.dynamics.drift(step.before) * jet.gradient).sum(1) + jet.second
        if self.problem.horizon is not None:
            generator = generator - jet.time_derivative
        last = -jet.value - (jet.gradient * step.kick).sum(1)
        return torch.where(ends, last, time_step * generator), None

    def _play_roulette(self, pool: Pool) -> None:
        """End some paths at random and give the others their weight, in place."""
        if (chance := self.settings.continuation) >= 1.0:
            return
        drawn = uniforms(self.settings.seed, mix(pool.key ^ mix(mix(pool.age + _ROULETTE))), 0)
        alive = pool.exit == _ALIVE
        lives = drawn < chance
        pool.exit = torch.where(alive & ~lives, _KILLED, pool.exit)
        weight = torch.where(alive & lives, pool.weight / chance, pool.weight)
        if self.surrogate is not None and self.settings.form == "martingale":
            pool.value = pool.value + (pool.weight - weight) * self._surrogate_at(pool)
        pool.weight = weight

    def _surrogate_at(self, pool: Pool) -> Tensor:
        if self.surrogate is None:
            return torch.zeros_like(pool.value)
        time_step, _ = self.problem.clock(self.settings.time_step)
        return self.surrogate.value(self._time_left(pool.age, time_step), self.dynamics.point(pool.state)).detach()

    def _finish(self, pool: Pool, result: Payoffs) -> None:
        """Write down what paths that have ended have earned."""
        guess = self._surrogate_at(pool)
        payoff = guess
        for number, earned in enumerate(self.problem.payoffs):
            payoff = torch.where(pool.exit == number, earned, payoff)
        if self.problem.horizon is not None:
            payoff = torch.where(pool.exit == _HORIZON, self.problem.final_at(pool.state[0]), payoff)
        truncated = pool.exit == _TRUNCATED
        is_residual_sum = (pool.exit < 0) & (self.settings.form == "residual")
        rest = torch.where(is_residual_sum, payoff - guess, payoff)
        value = pool.value + pool.weight * rest
        _check_finite("surrogate", guess)
        _check_finite("observable", payoff)
        result.defect[pool.row] = value
        result.control[pool.row] = pool.control
        result.excess[pool.row] = torch.where(truncated, pool.weight * self._hidden(guess), 0.0)
        result.steps[pool.row] = pool.age
        result.truncated[pool.row] = truncated

    def _hidden(self, guess: Tensor) -> Tensor:
        """Bound on the error of the surrogate, [n]; NaN where there is none."""
        known = float("nan") if self.settings.largest_error is None else self.settings.largest_error
        bound = torch.full_like(guess, known)
        if self.problem.limits is None:
            return bound
        low, high = self.problem.limits
        return torch.fmin(bound, torch.maximum(high - guess, guess - low))


def _check_finite(name: str, values: Tensor) -> None:
    # A sum is finite unless one of its terms is not: cheaper than a test of each entry.
    if not bool(values.sum().isfinite()):
        fix = "make it finite wherever paths go, also far from the points, or reduce `time_step`"
        raise ValueError(message(f"`{name}`", "finite values", "NaN or infinity", fix))
