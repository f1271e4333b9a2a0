"""Optimise a network: epochs, learning rate, averaging, early stopping, resumption.

Everything random depends on the seed and the epoch; a training that is killed and started again continues from its
last finished epoch and ends in the same bits.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from flashmd.errors import FlashMDError, message
from flashmd.nn import SchNet
from flashmd.train.state import CurvePoint, TrainingState, cosine_rate, load_state_, new_state, save_state

_EPOCH_SEED = 1_000_003  # a prime larger than any number of epochs, so that seeds of neighbouring runs do not collide


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is optimised.

    Attributes:
        epochs: largest number of passes over the training frames.
        batch_size: frames of one step.
        learning_rate: largest rate of AdamW.
        weight_decay: of AdamW.
        warmup_steps: steps over which the rate rises.
        gradient_clip: largest norm of the gradient of the loss in units of the mean square target.
        average_decay: of the moving average of the parameters; 0 keeps the last ones.
        patience: epochs without a better validation error before stopping.
        filters: "table" reads the filters from a table that is made anew for each batch, "exact" evaluates the filter
            network for each pair.
        n_knots: distances of the table, from zero to the cutoff.
        seed: of initial weights and shuffling.
    """

    epochs: int = 100
    batch_size: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 100
    gradient_clip: float = 10.0
    average_decay: float = 0.995
    patience: int = 20
    filters: Literal["table", "exact"] = "table"
    n_knots: int = 769
    seed: int = 0


class EpochTrainer(ABC):
    """Optimise a network epoch by epoch; a subclass says what the loss of some frames and of the validation set is.

    Args:
        network: network, optimised in place.
        n_frames: frames to train on.
        scale: unit of the loss; the learning curve gives the loss times the scale.
        settings: how to optimise.
        state_path: file of the state after each epoch; training continues from it where it exists.
        fingerprint: of configuration and data.
    """

    def __init__(
        self,
        network: SchNet,
        *,
        n_frames: int,
        scale: float,
        settings: TrainingSettings,
        state_path: Path | None = None,
        fingerprint: str = "",
    ) -> None:
        self._n_frames, self._scale, self._settings = n_frames, scale, settings
        self._state_path, self._fingerprint = state_path, fingerprint
        self.state = new_state(network, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay)
        if state_path is not None and state_path.exists():
            load_state_(self.state, state_path, fingerprint=fingerprint)

    @abstractmethod
    def _accumulate_(self, frames: Tensor) -> float:
        """Add the gradient of the loss of some training frames to the parameters' `grad` and return the loss."""

    @abstractmethod
    def _validation_error(self) -> float:
        """Return the loss of the validation frames times the scale."""

    @property
    def finished(self) -> bool:
        """Whether all epochs are done or the validation error stopped falling."""
        state, settings = self.state, self._settings
        return state.epoch >= settings.epochs or state.epochs_without_progress >= settings.patience

    def run(self, on_epoch: Callable[[CurvePoint], None] | None = None) -> TrainingState:
        """Train to the end, load the best parameters into the network and return the state.

        Args:
            on_epoch: called after each epoch.
        """
        while not self.finished:
            point = self.run_epoch()
            if on_epoch is not None:
                on_epoch(point)
        self._load(self.state.best)
        return self.state

    def run_epoch(self) -> CurvePoint:
        """Pass once over the training frames, validate and save."""
        begin, state = time.perf_counter(), self.state
        seed = self._settings.seed * _EPOCH_SEED + state.epoch
        n_frames, size = self._n_frames, self._settings.batch_size
        order = torch.randperm(n_frames, generator=torch.Generator().manual_seed(seed))
        # A last batch of few frames would be a noisy step.
        batches = order.split(size) if n_frames < size else order[: n_frames // size * size].split(size)
        loss = sum(self._step(frames, index, len(batches)) for index, frames in enumerate(batches)) / len(batches)
        current = {name: p.detach().clone() for name, p in state.network.named_parameters()}
        self._load(state.average)
        error = self._validation_error()
        self._load(current)
        return self._record(loss * self._scale, error, begin)

    def _record(self, train: float, validation: float, begin: float) -> CurvePoint:
        state = self.state
        if not validation < float("inf"):
            fix = "lower `learning_rate` or `gradient_clip`"
            raise FlashMDError(message(f"validation error of epoch {state.epoch + 1}", "finite", f"{validation}", fix))
        if state.best_point is None or validation < state.best_point.validation:
            state.best = {name: value.clone() for name, value in state.average.items()}
        state.epoch += 1
        rate: float = state.optimizer.param_groups[0]["lr"]
        point = CurvePoint(state.epoch, rate, train, validation, time.perf_counter() - begin)
        state.curve.append(point)
        if self._state_path is not None:
            save_state(state, self._state_path, fingerprint=self._fingerprint)
        return point

    def _step(self, frames: Tensor, index: int, n_batches: int) -> float:
        settings, state = self._settings, self.state
        step = state.epoch * n_batches + index
        factor = cosine_rate(step, settings.epochs * n_batches, warmup=settings.warmup_steps)
        for group in state.optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
        state.optimizer.zero_grad()
        loss = self._accumulate_(frames)
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.gradient_clip)
        state.optimizer.step()
        # Early parameters are forgotten faster than the decay alone would do.
        decay = min(settings.average_decay, (1.0 + step) / (10.0 + step))
        with torch.no_grad():
            for name, parameter in state.network.named_parameters():
                state.average[name].lerp_(parameter, 1.0 - decay)
        return loss

    def _load(self, parameters: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.state.network.named_parameters():
                parameter.copy_(parameters[name])
