"""Post-training of a backmapping model from its configuration to the files it leaves, and the gate at its end."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from flashmd.backmap.adjoint.config import PostTraining
from flashmd.backmap.adjoint.optimise import Learner, Measured
from flashmd.backmap.adjoint.proteins import Protein, load_proteins
from flashmd.backmap.adjoint.state import AGAIN, PostPoint, PostState
from flashmd.backmap.adjoint.validation import Validation
from flashmd.backmap.force_fields.energy_workers import EnergyWorkers
from flashmd.backmap.model import BackmapModel
from flashmd.errors import PostTrainingError, message
from flashmd.files import write_atomically, writing

LEAST_MOVE = 1e-6
"""Weights moved if their change is this much of their length: more than rounding in single precision."""
STATE_FILE, MODEL_FILE, LOG_FILE = "state.safetensors", "model.safetensors", "log.csv"
_FREE_TO_CHANGE = {"output", "steps", "report_every", "processes", "threads"}


@dataclass(frozen=True)
class PostTrained:
    """What a post-training achieved; energies are held-out medians in kJ/mol for each residue.

    Attributes:
        model: with the averaged parameters.
        before: energy of the model as it came.
        after: energy of the model as it is now.
        moved: length of the change of the parameters, relative to that of the parameters.
        curve: learning curve.
    """

    model: BackmapModel
    before: float
    after: float
    moved: float
    curve: tuple[PostPoint, ...]


def post_train(config: PostTraining, on_report: Callable[[PostPoint], None] | None = None) -> PostTrained:
    """Lower the energies of the structures that a model draws; continue where an earlier call was interrupted.

    Args:
        config: the post-training.
        on_report: called after each validation, the first one before any step.

    Returns:
        The outcome; its model was written to ``model.safetensors`` in the output folder.

    Raises:
        PostTrainingError: the held-out median energy did not fall or no weight moved; no model is written.
        EnergyFailureError: too many structures have no finite energy.
        ValueError: no chain can be used.
        CheckpointError: the model cannot be read, or the output folder holds the state of another post-training.
        OutputError: the disk is full or not writable.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with writing(config.output, advice=AGAIN):
        config.output.mkdir(parents=True, exist_ok=True)
    state = PostState.start(BackmapModel.load(config.model), config.learning_rate)
    path, mark = config.output / STATE_FILE, _fingerprint(config)
    if path.exists():
        state.load_(path, mark)
    write_atomically(config.output / "config.yaml", config.to_yaml().encode(), advice=AGAIN)
    workers = EnergyWorkers(config.force_field, processes=config.processes, failure_limit=config.failure_limit)
    with workers:
        proteins = load_proteins(config.data, workers, "data", max_residues=config.max_residues)
        validation = Validation(config, load_proteins(config.validation, workers, "validation", config.max_residues))
        _run(config, state, proteins, _Reporter(config, validation, workers, mark, on_report))
    return _judge(config, state)


def _fingerprint(config: PostTraining) -> str:
    """Return what a state must share with the configuration that continues it."""
    kept = config.model_dump_json(exclude=_FREE_TO_CHANGE | {"model", "data", "validation"})
    parts = [kept.encode(), config.model.read_bytes(), *(_content(each) for each in (config.data, config.validation))]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _content(path: Path) -> bytes:
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.is_file())
        return "\n".join(f"{each.relative_to(path)} {each.stat().st_size}" for each in files).encode()
    return path.read_bytes() if path.is_file() else b""


class _Reporter:
    """Validates and writes everything there is to know."""

    def __init__(
        self,
        config: PostTraining,
        validation: Validation,
        workers: EnergyWorkers,
        mark: str,
        on_report: Callable[[PostPoint], None] | None,
    ) -> None:
        self._config, self._validation, self._workers, self._mark = config, validation, workers, mark
        self._on_report = on_report
        self._begun = time.perf_counter()

    def __call__(self, state: PostState, measured: Measured) -> None:
        energy, spread = self._validation(state.averaged())
        now = time.perf_counter()
        losses = sum(measured.losses) / len(measured.losses) if measured.losses else math.nan
        drawn = torch.tensor(measured.energies).median().item() if measured.energies else math.nan
        point = PostPoint(state.step, losses, drawn, energy, spread, self._workers.failed, now - self._begun)
        self._begun = now
        state.curve.append(point)
        state.save(self._config.output / STATE_FILE, self._mark)
        table = io.StringIO()
        writer = csv.DictWriter(table, list(asdict(point)))
        writer.writeheader()
        writer.writerows(asdict(each) for each in state.curve)
        write_atomically(self._config.output / LOG_FILE, table.getvalue().encode(), advice=AGAIN)
        if self._on_report is not None:
            self._on_report(point)


def _run(config: PostTraining, state: PostState, proteins: list[Protein], report: _Reporter) -> None:
    learner, measured = Learner(config, state, proteins), Measured()
    if not state.curve:
        report(state, measured)
    while state.step < config.steps:
        learner.step_(measured)
        if state.step % config.report_every == 0 or state.step == config.steps:
            report(state, measured)
            measured = Measured()


def _judge(config: PostTraining, state: PostState) -> PostTrained:
    """Return the outcome and write the model, or say that the post-training failed."""
    before, after, moved = state.curve[0].validation_energy, state.curve[-1].validation_energy, state.moved()
    found = f"{before:.2f} before and {after:.2f} after, weights moved by {moved:.1e}"
    if not (after < before and moved > LEAST_MOVE):
        fix = f"lower `learning_rate` or raise `steps`; the curve is in {config.output / LOG_FILE}"
        expected = "a held-out median energy (kJ/mol for each residue) that falls and weights that move"
        raise PostTrainingError(message("the post-training failed", expected, found, fix))
    card = {"post-training": config.model_dump(mode="json", exclude={"model", "data", "validation", "output"})}
    model = state.averaged()
    model.save(config.output / MODEL_FILE, card={**card, "held-out median energy, kJ/mol/residue": [before, after]})
    return PostTrained(model, before, after, moved, tuple(state.curve))
