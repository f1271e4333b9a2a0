r"""The linear Feynman-Kac problem of the defect, by Euler-Maruyama paths.

With the weight :math:`C_r = \int_t^r \partial_u f\,dv` along :math:`dX = (\mu + \sigma\,\partial_z f)\,dt + \sigma\,dW`
the defect :math:`e = u - \hat u` is, up to terms of second order in e,

.. math::
    e(t, x) = E\Big[e^{C_T}(g - \hat u)(X_T) + \int_t^T e^{C_r}\,\varepsilon\,dr\Big]
            = E\Big[e^{C_T} g(X_T) + \int_t^T e^{C_r} (f - z\cdot\partial_z f - \hat u\,\partial_u f)\,dr
              - \int_t^T e^{C_r} z\cdot dW\Big] - \hat u(t, x),

the residual and the martingale form; by Ito's formula they are the same random variable. Integrals over time are
sums over the nodes of a grid, the stochastic one takes left ends, so that its mean is zero for any step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flashmd.pde.diffusion import dot, plus_times
from flashmd.pde.grid import TimeGrid, time_grid
from flashmd.pde.linearise import Linearised, linearise
from flashmd.pde.problem import Parabolic, Watch
from flashmd.pde.sobol import sobol_increments
from flashmd.pde.streams import child_streams, normals, point_streams, signs
from flashmd.pde.surrogate import Surrogate

_NOISE, _SIGNS = 1, 2


@dataclass(frozen=True)
class Points:
    """Points at which a solution is estimated.

    Attributes:
        t: [n].
        x: [n, d].
        coefficient: [n], of the control variate at each point; None is one everywhere.
        streams: [n], int64, names of their random streams; None makes them of the coordinates.
    """

    t: Tensor
    x: Tensor
    coefficient: Tensor | None = None
    streams: Tensor | None = None

    @property
    def n(self) -> int:
        """How many points."""
        return self.t.shape[0]

    def select(self, index: Tensor) -> Points:
        """Return some of the points."""
        coefficient = None if self.coefficient is None else self.coefficient[index]
        return Points(self.t[index], self.x[index], coefficient, self.keys[index])

    @property
    def keys(self) -> Tensor:
        """Names of their random streams, [n]."""
        return point_streams(self.t, self.x) if self.streams is None else self.streams


@dataclass(frozen=True)
class Draws:
    """Independent, identically distributed draws of the defect at n points.

    Attributes:
        value: [n, count].
        square: [n, count], mean square of the paths of a draw with the whole control variate, whatever its factor: its
            variance tells how far the gradient of the surrogate is from that of the solution.
        gradient: [n, count, d], with respect to x, or None.
        evaluations: how many the draws took together, or None for the sampler's cost each.
    """

    value: Tensor
    square: Tensor
    gradient: Tensor | None = None
    evaluations: int | None = None


@dataclass(frozen=True)
class Payoffs:
    """What one path contributes to the two forms, each [rows].

    Attributes:
        residual: the residual form, or None without second derivatives.
        plain: the martingale form without its control variate.
        control: the stochastic integral, of mean zero; the martingale form is ``plain - control``.
    """

    residual: Tensor | None
    plain: Tensor
    control: Tensor

    def defect(self, form: str, coefficient: Tensor | float = 1.0) -> Tensor:
        """Return draws of the defect in the form "residual" or "martingale", [rows]."""
        if form == "residual" and self.residual is not None:
            return self.residual
        return self.plain - coefficient * self.control


@dataclass(frozen=True)
class LinearisedPaths:
    """Draws of the linearised defect.

    Attributes:
        problem: the equation.
        surrogate: the approximate solution.
        form: "residual" or "martingale".
        steps: time steps of every path.
        seed: seed of all noise.
        antithetic: follow each path by its mirror image.
        sobol_paths: paths of a scrambled net in each draw, or 1 for independent paths.
        grading: exponent of the time grid; above one, steps are shorter near the start.
        quadrature: "trapezoid" or "lobatto", the rule of the integrals over time.
        gradient: draw gradients too, by differentiating each path with respect to its start.
    """

    problem: Parabolic
    surrogate: Surrogate
    form: str
    steps: int
    seed: int
    antithetic: bool = True
    sobol_paths: int = 1
    grading: float = 1.0
    quadrature: str = "trapezoid"
    gradient: bool = False

    @property
    def grid(self) -> TimeGrid:
        """When the paths are seen."""
        return time_grid(self.steps, self.grading, self.quadrature)

    @property
    def paths_per_draw(self) -> int:
        """Paths that one draw averages."""
        return self.sobol_paths * (2 if self.antithetic else 1)

    @property
    def cost(self) -> int:
        """Evaluations of the surrogate in one draw; the start of the paths is evaluated once for all."""
        return self.paths_per_draw * self.steps

    @property
    def rows(self) -> int:
        """Vectors of d numbers that one draw holds at a time."""
        held = self.steps if self.sobol_paths > 1 or self.gradient else 1
        return self.paths_per_draw * held

    def draw(self, points: Points, first: int, count: int) -> Draws:
        """Return draws number `first` to ``first + count - 1``.

        Raises:
            ValueError: a coefficient or the surrogate is not finite; the message names it.
        """
        repeats = count * self.paths_per_draw
        coefficient = 1.0 if points.coefficient is None else points.coefficient.repeat_interleave(repeats)
        if not self.gradient:
            with torch.no_grad():
                paths = self._payoffs(points, first, count)
            return self._collect(paths, coefficient, None, (points.n, count))
        starts = points.x.detach().repeat_interleave(repeats, 0).requires_grad_()
        paths = self._payoffs(points, first, count, starts)
        slope = torch.autograd.grad(paths.defect(self.form, coefficient).sum(), starts)[0]
        return self._collect(paths, coefficient, slope, (points.n, count))

    def _collect(
        self, paths: Payoffs, coefficient: Tensor | float, slope: Tensor | None, shape: tuple[int, int]
    ) -> Draws:
        """Average the paths of each draw."""
        defect = paths.defect(self.form, coefficient).detach().reshape(*shape, -1)
        whole = paths.defect(self.form).detach().reshape(*shape, -1)
        gradient = None if slope is None else slope.reshape(*shape, defect.shape[2], -1).mean(2)
        return Draws(defect.mean(2), whole.square().mean(2), gradient)

    def payoffs(self, points: Points, first: int, count: int) -> Payoffs:
        """Return all parts of every path, each [n, count, paths_per_draw], without gradients."""
        with torch.no_grad():
            parts = self._payoffs(points, first, count)
        shape = (points.n, count, self.paths_per_draw)
        residual = None if parts.residual is None else parts.residual.reshape(shape)
        return Payoffs(residual, parts.plain.reshape(shape), parts.control.reshape(shape))

    def _payoffs(self, points: Points, first: int, count: int, starts: Tensor | None = None) -> Payoffs:
        """Simulate; `starts` are the starting points of all rows where they are differentiated."""
        t, x = points.t, points.x
        repeats = count * self.paths_per_draw
        watch = Watch()
        streams = child_streams(points.keys, _NOISE, first, count).flatten()
        noise, probes = self._noise(streams, x.shape[1])
        times_of_rows = t.repeat_interleave(repeats)
        if starts is None and not isinstance(probes(0), Tensor):
            starts = x.repeat_interleave(repeats, 0)
            start = self._linearise(t, x, watch, probes(0)).repeat(repeats)
        else:
            starts = x.repeat_interleave(repeats, 0) if starts is None else starts
            start = self._linearise(times_of_rows, starts, watch, probes(0))
        result = self._simulate(times_of_rows, starts, start, noise, probes, watch)
        watch.raise_if_broken()
        return result

    def _simulate(
        self,
        t: Tensor,
        x: Tensor,
        here: Linearised,
        noise: Callable[[int], Tensor],
        probes: Callable[[int], Tensor | bool],
        watch: Watch,
    ) -> Payoffs:
        left = self.problem.T - t
        shares, parts = self.grid.shares, self.grid.weights
        log_weight, control = torch.zeros_like(t), torch.zeros_like(t)
        plain = parts[0] * left * here.balance - here.value
        residual = None if here.residual is None else parts[0] * left * here.residual
        for step in range(1, self.steps + 1):
            h = left * (shares[step] - shares[step - 1])
            increment = h.sqrt()[:, None] * noise(step)
            x = plus_times(torch.addcmul(x, h[:, None], here.drift), here.sigma, increment)
            time = t + left * shares[step] if step < self.steps else torch.full_like(t, self.problem.T)
            there = self._linearise(time, x, watch, probes(step))
            control = control + log_weight.exp() * dot(here.z, increment)
            log_weight = log_weight + 0.5 * h * (here.rate + there.rate)
            share = parts[step] * left * log_weight.exp()
            plain = plain + share * there.balance
            if residual is not None and there.residual is not None:
                residual = residual + share * there.residual
            here = there
        end, grown = watch("terminal", self.problem.terminal_at(x)), log_weight.exp()
        form = None if residual is None else residual + grown * (end - here.value)
        return Payoffs(form, plain + grown * end, control)

    def _linearise(self, t: Tensor, x: Tensor, watch: Watch, probe: Tensor | bool) -> Linearised:
        return linearise(self.problem, self.surrogate, t, x, watch, signs=probe)

    def _noise(self, streams: Tensor, d: int) -> tuple[Callable[[int], Tensor], Callable[[int], Tensor | bool]]:
        """Functions from a step to its noise and to its random signs (or whether second derivatives are needed)."""
        if self.sobol_paths > 1:
            all_steps = sobol_increments(self.seed, streams, self.sobol_paths, self.steps, d)
            if self.antithetic:
                all_steps = torch.stack([all_steps, -all_steps], 1).flatten(0, 1)
            noise: Callable[[int], Tensor] = lambda step: all_steps[:, step - 1]  # noqa: E731
        else:
            noise = lambda step: normals(self.seed, streams, step, d, antithetic=self.antithetic)  # noqa: E731
        return noise, lambda step: self._probe(streams, step, d)

    def _probe(self, streams: Tensor, step: int, d: int) -> Tensor | bool:
        if self.form == "martingale" or self.surrogate.derivatives != "hutchinson":
            return self.form != "martingale"
        rows = child_streams(streams, _SIGNS, 0, self.paths_per_draw).flatten()
        return signs(self.seed, rows, step, d)
