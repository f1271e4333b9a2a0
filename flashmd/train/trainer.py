"""Optimise a network on delta forces of one molecule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from flashmd.nn import FrameEnergies, SchNet
from flashmd.train.epochs import EpochTrainer, TrainingSettings
from flashmd.train.force_matching import accumulate_gradient_, mean_square_error


@dataclass(frozen=True)
class Frames:
    """Positions and target forces of a set of frames.

    Attributes:
        positions: [n_frames, n_beads, 3], nm.
        target: [n_frames, n_beads, 3], reference minus prior forces, kJ/mol/nm.
    """

    positions: Tensor
    target: Tensor

    @property
    def mean_square(self) -> float:
        """Mean square of a component of the target, (kJ/mol/nm)^2: the error of the prior alone."""
        return float(self.target.double().square().mean())


class Trainer(EpochTrainer):
    """Train a SchNet on frames of one molecule.

    Args:
        network: network, optimised in place.
        types: [n_beads] bead types.
        train: training frames.
        validation: frames of other trajectories.
        settings: how to optimise.
        state_path: file of the state after each epoch; training continues from it where it exists.
        fingerprint: of configuration and data.
    """

    def __init__(
        self,
        network: SchNet,
        types: Tensor,
        *,
        train: Frames,
        validation: Frames,
        settings: TrainingSettings,
        state_path: Path | None = None,
        fingerprint: str = "",
    ) -> None:
        super().__init__(
            network,
            n_frames=train.positions.shape[0],
            scale=train.mean_square,
            settings=settings,
            state_path=state_path,
            fingerprint=fingerprint,
        )
        self.energies = FrameEnergies(network, types, n_knots=settings.n_knots if settings.filters == "table" else None)
        self._train, self._validation = train, validation

    def _accumulate_(self, frames: Tensor) -> float:
        positions, target = self._train.positions[frames], self._train.target[frames]
        return accumulate_gradient_(self.energies, positions, target, scale=self._scale)

    def _validation_error(self) -> float:
        return mean_square_error(self.energies, self._validation.positions, self._validation.target)
