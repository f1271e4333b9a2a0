"""Whether a structure can be simulated at once: short dynamics without minimisation, crashes and hot spots counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flashmd.backmap.force_fields.molecule import ForceFieldName, Molecule, as_frames, context_of
from flashmd.errors import message

if TYPE_CHECKING:
    import openmm

TIME_STEP = 0.001
"""ps."""
FRICTION = 1.0
"""1/ps."""
CUTOFF = 1.0
"""nm, of non-bonded interactions."""
STEPS_PER_LOOK = 10
"""Steps between two looks at the temperature."""
HOTTEST = 500.0
"""K, a structure whose temperature peaks above this had a bad spot."""


@dataclass(frozen=True)
class DynamicsCheck:
    """What became of structures in short dynamics.

    Attributes:
        peak: [n_frames], K, highest temperature of all atoms; infinite after a crash.
        reasons: [n_frames], why a structure did not pass, "" where it did.
    """

    peak: Tensor
    reasons: tuple[str, ...]

    @property
    def passed(self) -> tuple[bool, ...]:
        """Which structures ran without a crash and without a peak above 500 K."""
        return tuple(reason == "" for reason in self.reasons)


def md_check(
    molecule: Molecule,
    positions: Tensor,
    *,
    ps: float = 5.0,
    temperature: float = 300.0,
    force_field: ForceFieldName = "charmm36",
    seed: int = 0,
) -> DynamicsCheck:
    """Start Langevin dynamics from structures as they are; heavy atoms are not minimised.

    Time step 1 fs, bonds to hydrogens constrained, friction 1/ps, cutoff 1 nm, no solvent.

    Args:
        molecule: the atoms.
        positions: [n_frames, n_atoms, 3], nm, of `add_hydrogens`.
        ps: length of the run.
        temperature: K.
        force_field: a key of `FILES`.
        seed: of velocities and noise; structure number n takes seed + n.

    Raises:
        ValueError: the shape is another one, or length or temperature are not positive.

    Example:
        >>> from flashmd.backmap.chains import Chains
        >>> from flashmd.backmap.force_fields import Molecule
        >>> molecule = Molecule.of(Chains.from_sequence("GG"))
        >>> md_check(molecule, torch.zeros(1, 17, 3), ps=0.01).passed
        (False,)
    """
    import openmm

    frames = as_frames(positions, molecule.atoms.n_atoms)
    for name, value in (("`ps`", ps), ("`temperature`", temperature)):
        if value <= 0:
            raise ValueError(message(name, "a positive number", f"{value:g}", "pass 5 ps and 300 K, for example"))
    system = molecule.system(force_field, cutoff=CUTOFF, constrain_hydrogens=True)
    integrator = openmm.LangevinMiddleIntegrator(temperature, FRICTION, TIME_STEP)
    context = context_of(system, integrator)
    peaks, reasons = [], []
    for index, frame in enumerate(frames):
        integrator.setRandomNumberSeed(1 + (seed + index) % 2**31)
        context.reinitialize()
        peak, reason = _run(context, frame, round(ps / TIME_STEP), temperature, seed + index)
        peaks.append(peak)
        reasons.append(reason)
    return DynamicsCheck(torch.tensor(peaks, dtype=torch.float64), tuple(reasons))


def _run(
    context: openmm.Context, frame: NDArray[np.float64], n_steps: int, temperature: float, seed: int
) -> tuple[float, str]:
    """Return the highest temperature of one run and what went wrong."""
    import openmm

    system = context.getSystem()
    freedoms = 3 * system.getNumParticles() - system.getNumConstraints()
    kelvin_per_energy = 2.0 / (freedoms * 8.31446261815324e-3)
    peak, done = 0.0, 0
    try:
        context.setPositions(frame)
        context.applyConstraints(1e-6)
        context.setVelocitiesToTemperature(temperature, 1 + seed % 2**31)
        while done < n_steps:
            context.getIntegrator().step(min(STEPS_PER_LOOK, n_steps - done))
            done += STEPS_PER_LOOK
            kinetic = context.getState(energy=True).getKineticEnergy()._value * kelvin_per_energy
            if not np.isfinite(kinetic):
                return np.inf, f"not a number after {done} steps"
            peak = max(peak, kinetic)
    except openmm.OpenMMException as error:
        return np.inf, f"crash within {done + STEPS_PER_LOOK} steps: {error}"
    return peak, "" if peak <= HOTTEST else f"peak of {peak:.0f} K"
