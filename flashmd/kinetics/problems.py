r"""Problems with known committors and first-passage times, in any number of dimensions.

With kT = friction = 1 and a potential of one coordinate s, whatever is harmonic and independent of it,

.. math::
    q(s) = \int_a^s e^{V}\Big/\int_a^b e^{V}, \qquad m(s) = \int_s^b e^{V(y)} \int_{-\infty}^y e^{-V(z)}\,dz\,dy ,

and for a radial one the same with :math:`V(r) - (d - 1) \log r`. The surface of Mueller and Brown
(doi:10.1007/BF00547608) has no closed form: its table comes from finite volumes with cut edges
(examples/data_generation/mueller_brown.py), extrapolated from grids of 0.01 and 0.005.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import quad
from scipy.special import gammainc, gammaln
from torch import Tensor

from flashmd.errors import message
from flashmd.kinetics.dynamics import Overdamped
from flashmd.kinetics.sets import AbsorbingSet, ball, half_space
from flashmd.pde.checks import check_whole

Profile = Callable[[float], float]


@dataclass(frozen=True)
class KineticProblem:
    """Hold dynamics, absorbing sets and what is known.

    Attributes:
        dynamics: equation of motion.
        A: where the committor is 0.
        B: where it is 1, and the target of first passages.
        coordinate: maps x [n, d] to the one coordinate [n] that decides.
        place: maps coordinates [n] to points [n, d] that have them.
        committor: of the coordinate.
        passage: mean first-passage time to B without A, of the coordinate.
    """

    dynamics: Overdamped
    A: AbsorbingSet
    B: AbsorbingSet
    coordinate: Callable[[Tensor], Tensor]
    place: Callable[[Tensor], Tensor]
    committor: Callable[[Tensor], Tensor]
    passage: Callable[[Tensor], Tensor]


def hidden_double_well(d: int, *, height: float = 4.0, tilt: float = 0.0, stiffness: float = 1.0) -> KineticProblem:
    """Return a double well along a direction that no axis shows, harmonic across it; sets begin at -1 and 1.

    Args:
        d: dimension.
        height: of the barrier, in kT.
        tilt: slope that is added.
        stiffness: across.

    Example:
        >>> import torch
        >>> from flashmd.kinetics import hidden_double_well
        >>> problem = hidden_double_well(10)
        >>> x = problem.place(torch.tensor([-0.5, 0.0]))
        >>> [f"{value:.6f}" for value in problem.committor(problem.coordinate(x)).tolist()]
        ['0.042649', '0.500000']
    """
    direction = torch.sin(1.0 + torch.arange(d, dtype=torch.float64))
    direction = direction / direction.norm()

    def profile(s: float) -> float:
        return height * (s * s - 1.0) ** 2 + tilt * s

    def energy(x: Tensor) -> Tensor:
        along = x @ direction
        across: Tensor = x.square().sum(1) - along.square()
        well = height * (along.square() - 1.0).square()
        total: Tensor = 0.5 * stiffness * across + well + tilt * along
        return total

    return KineticProblem(
        dynamics=Overdamped(energy, kT=1.0),
        A=half_space(-direction, 1.0),
        B=half_space(direction, 1.0),
        coordinate=lambda x: x @ direction,
        place=lambda s: s.to(torch.float64)[:, None] * direction,
        committor=_each(lambda s: _share(profile, -1.0, s, 1.0)),
        passage=_each(lambda s: _passage(profile, s, 1.0)),
    )


def radial_problem(d: int, *, inner: float, outer: float, stiffness: float = 0.0) -> KineticProblem:
    """Return a particle between two spheres, free or in a harmonic potential; A is the inner ball.

    Args:
        d: dimension, at least 2.
        inner: radius of A.
        outer: radius beyond which B lies.
        stiffness: of the potential.

    Example:
        >>> import torch
        >>> from flashmd.kinetics import radial_problem
        >>> shell = radial_problem(10, inner=1.0, outer=2.0)
        >>> f"{shell.committor(torch.tensor([1.2])).item():.6f}"
        '0.770442'
    """
    if d < 2 or not 0.0 < inner < outer:
        got, fix = f"d={d}, inner={inner}, outer={outer}", "choose two spheres"
        raise ValueError(message("the shell", "d >= 2 and 0 < inner < outer", got, fix))

    def profile(r: float) -> float:
        return 0.5 * stiffness * r * r - (d - 1) * math.log(r / outer)

    def time(r: float) -> float:
        if stiffness == 0.0:
            return (outer * outer - r * r) / (2 * d)
        scale = (0.5 * d - 1.0) * math.log(2.0) - 0.5 * d * math.log(stiffness) + float(gammaln(0.5 * d))

        def integrand(s: float) -> float:
            below = float(gammainc(0.5 * d, 0.5 * stiffness * s * s))
            return math.exp(0.5 * stiffness * s * s - (d - 1) * math.log(s) + scale) * below

        return _integral(integrand, max(r, 1e-6 * outer), outer)

    return KineticProblem(
        dynamics=Overdamped(lambda x: 0.5 * stiffness * x.square().sum(1), kT=1.0),
        A=ball(torch.zeros(d), inner),
        B=ball(torch.zeros(d), outer, outside=True),
        coordinate=lambda x: x.norm(dim=1),
        place=lambda r: r.to(torch.float64)[:, None] / math.sqrt(d) * torch.ones(d, dtype=torch.float64),
        committor=_each(lambda r: _share(profile, inner, r, outer)),
        passage=_each(time),
    )


def mueller_brown(x: Tensor) -> Tensor:
    """Return the energy of the surface of Mueller and Brown, [n], at x [n, 2].

    Example:
        >>> import torch
        >>> from flashmd.kinetics import mueller_brown
        >>> f"{mueller_brown(torch.tensor([[-0.558, 1.442]])).item():.1f}"
        '-146.7'
    """
    right, up = x[:, :1] - _CENTRES[0].to(x), x[:, 1:] - _CENTRES[1].to(x)
    a, b, c = (row.to(x) for row in _EXPONENTS)
    energy: Tensor = (_HEIGHTS.to(x) * (a * right * right + b * right * up + c * up * up).exp()).sum(1)
    return energy


@dataclass(frozen=True)
class MuellerBrownTable:
    """Hold reference values of the surface of Mueller and Brown with friction 1 and discs of radius 0.1.

    The surface may be hidden in a space of more dimensions, harmonic across: neither committor nor rates change.

    Attributes:
        kT: 10, 15 or 20.
        points: [n, d], in the plane of the surface.
        committor: [n], error below 2e-5.
        forward: rate from A to B.
        backward: rate from B to A.
        plane: [2, d], orthonormal, the directions of the surface.

    Example:
        >>> from flashmd.kinetics import MuellerBrownTable
        >>> MuellerBrownTable.at(20.0).forward
        0.735837
        >>> MuellerBrownTable.at(20.0, harmonic=10).points.shape
        torch.Size([11, 12])
    """

    kT: float
    points: Tensor
    committor: Tensor
    forward: float
    backward: float
    plane: Tensor

    @classmethod
    def at(cls, kT: float, *, harmonic: int = 0) -> MuellerBrownTable:
        """Return the table for one of the three temperatures.

        Args:
            kT: thermal energy.
            harmonic: dimensions that are added; the plane of the surface then lies along no axis.
        """
        if kT not in _COMMITTORS:
            fix = "choose one of these"
            raise ValueError(message("`kT`", f"one of {', '.join(map(str, _COMMITTORS))}", str(kT), fix))
        check_whole("harmonic", harmonic, at_least=0)
        values = torch.tensor(_COMMITTORS[kT], dtype=torch.float64)
        plane = _plane(2 + harmonic) if harmonic else torch.eye(2, dtype=torch.float64)
        return cls(kT, torch.tensor(_POINTS, dtype=torch.float64) @ plane, values, *_RATES[kT], plane)

    @property
    def dynamics(self) -> Overdamped:
        """Overdamped dynamics on the surface."""
        return Overdamped(self.energy, kT=self.kT)

    @property
    def sets(self) -> tuple[AbsorbingSet, AbsorbingSet]:
        """The discs A and B around two minima, or the cylinders on them."""
        return _cylinder(self.plane, [-0.558, 1.442], 0.1), _cylinder(self.plane, [0.623, 0.028], 0.1)

    def energy(self, x: Tensor) -> Tensor:
        """Return the energy, [n], at x [n, d]."""
        inside = x @ self.plane.to(x).T
        if x.shape[1] == 2:
            return mueller_brown(inside)
        across: Tensor = x.square().sum(1) - inside.square().sum(1)
        energy: Tensor = mueller_brown(inside) + 0.5 * _STIFFNESS * across
        return energy

    def sample_across(self, n: int, generator: torch.Generator) -> Tensor:
        """Return what equilibrium adds to points of the plane, [n, d]: normal numbers across it."""
        d = self.plane.shape[1]
        drawn = math.sqrt(self.kT / _STIFFNESS) * torch.randn(n, d, generator=generator, dtype=torch.float64)
        return drawn - drawn @ self.plane.T @ self.plane


# Of the added dimensions: at kT = 20 they reach a third of a unit of length to either side.
_STIFFNESS = 200.0
_HEIGHTS = torch.tensor([-200.0, -100.0, -170.0, 15.0], dtype=torch.float64)
_CENTRES = torch.tensor([[1.0, 0.0, -0.5, -1.0], [0.0, 0.5, 1.5, 1.0]], dtype=torch.float64)
_EXPONENTS = torch.tensor(
    [[-1.0, -1.0, -6.5, 0.7], [0.0, 0.0, 11.0, 0.6], [-10.0, -10.0, -6.5, 0.7]], dtype=torch.float64
)
_POINTS = (
    (-0.822, 0.624), (-0.8, 0.6), (-0.7, 0.65), (-0.9, 0.7), (-0.5, 0.5), (-0.25, 0.5),
    (-0.05, 0.467), (0.212, 0.293), (0.0, 0.3), (-0.6, 0.8), (0.0, 1.0),
)  # fmt: skip
_COMMITTORS = {
    10.0: (0.325743, 0.406938, 0.533329, 0.101881, 0.861693, 0.928275,
           0.948120, 0.978382, 0.958929, 0.388811, 0.763471),
    15.0: (0.282044, 0.336399, 0.420898, 0.125069, 0.714675, 0.822888,
           0.870387, 0.940442, 0.896739, 0.323176, 0.649242),
    20.0: (0.262354, 0.302581, 0.362932, 0.143405, 0.615393, 0.738531,
           0.804599, 0.903508, 0.842430, 0.287823, 0.569412),
}  # fmt: skip
_RATES = {10.0: (0.00504253, 0.193213), 15.0: (0.145949, 1.34066), 20.0: (0.735837, 3.34766)}


def _each(function: Profile) -> Callable[[Tensor], Tensor]:
    """Apply a function of numbers to every entry of a tensor [n]."""
    return lambda values: torch.tensor([function(float(value)) for value in values], dtype=torch.float64)


def _integral(function: Profile, low: float, high: float) -> float:
    return float(quad(function, low, high, epsabs=0.0, epsrel=1e-9, limit=200)[0])


def _share(profile: Profile, low: float, s: float, high: float) -> float:
    top = max(profile(float(each)) for each in np.linspace(low, high, 101))
    parts = [_integral(lambda y: math.exp(profile(y) - top), low, end) for end in (s, high)]
    return parts[0] / parts[1]


def _passage(profile: Profile, s: float, target: float) -> float:
    def below(y: float) -> float:
        return _integral(lambda z: math.exp(profile(y) - profile(z)), -4.0, y)

    return _integral(below, s, target)


def _plane(d: int) -> Tensor:
    """Two orthonormal directions that no axis shows, [2, d]."""
    numbers = torch.arange(2 * d, dtype=torch.float64).reshape(d, 2)
    directions: Tensor = torch.linalg.qr(torch.sin(1.0 + numbers)).Q.T
    return directions


def _cylinder(plane: Tensor, centre: Sequence[float], radius: float) -> AbsorbingSet:
    """Return all points whose place in a plane lies in a disc."""
    disc = ball(centre, radius)
    return AbsorbingSet(lambda x: disc.level_at(x @ plane.to(x).T), unit_slope=True)
