"""Structures of this package and of its peers for one trace, with the processor time of each."""

import time
from dataclasses import dataclass
from pathlib import Path

import backmapping_peers as peers
import numpy as np
import torch
from backmapping_cases import Case
from torch import Tensor

from flashmd.backmap import BackmapOptions, sample_structures, trace_from_positions
from flashmd.backmap.model import BackmapModel
from flashmd.backmap.physics import relax
from flashmd.backmap.residues import SLOT_CA

RAW, RELAXED, NATIVE = "flashmd", "flashmd, relaxed", "native"
OURS = (RAW, RELAXED)


@dataclass(frozen=True)
class Made:
    """Structures of one method for one case.

    Attributes:
        positions: [n_samples, n_residues, 14, 3], nm, float64.
        seconds: [n_samples], s, processor time of each in one thread; 0 for the native structure.
    """

    positions: Tensor
    seconds: Tensor


def kept(method: str, case: Case, samples: int, keep: Path) -> list[int]:
    """Return the seeds, from 1, of the structures of a peer that a folder holds."""
    return [seed for seed in _seeds(method, samples) if _path(method, case, seed, keep).is_file()]


def make(
    method: str,
    case: Case,
    samples: int,
    model: BackmapModel | None,
    keep: Path | None,
    *,
    only_kept: bool = False,
    raw: Made | None = None,
) -> Made:
    """Make the structures of a method; those of peers are kept in a folder and made only once.

    Args:
        method: "native", one of ours, or a peer.
        case: the native structure.
        samples: structures of a method that has seeds.
        model: ours.
        keep: folder for the structures of peers.
        raw: our structures, if they have been made; relaxation starts from them.
        only_kept: take the samples of peers that the folder holds and make no others.
    """
    if method == NATIVE:
        return Made(case.native[None], torch.zeros(1))
    if method in OURS:
        if raw is None:
            assert model is not None
            raw = _ours(case, samples, model)
        return raw if method == RAW else _relaxed(case, raw)
    seeds = kept(method, case, samples, keep) if keep and only_kept else _seeds(method, samples)
    runs = [_peer(method, case, seed, keep) for seed in seeds]
    return Made(torch.stack([run.positions for run in runs]), torch.tensor([run.seconds for run in runs]))


def _ours(case: Case, samples: int, model: BackmapModel) -> Made:
    trace = trace_from_positions(case.chains, case.trace.float())
    options = BackmapOptions(samples=samples, seed=1)
    torch.set_num_threads(1)
    start = time.process_time()
    batches = list(sample_structures(trace, options, model))
    seconds = (time.process_time() - start) / samples
    positions = torch.cat([batch.positions for batch in batches]).double()
    return Made(positions, torch.full((samples,), seconds))


def _relaxed(case: Case, raw: Made) -> Made:
    """Return structures after the stage that `--relax` adds."""
    known = torch.zeros_like(case.chains.mask)
    known[:, SLOT_CA] = True
    start = time.process_time()
    positions = relax(case.chains, raw.positions.float(), known).positions.double()
    return Made(positions, raw.seconds + (time.process_time() - start) / len(positions))


def _seeds(method: str, samples: int) -> range:
    return range(1, samples + 1 if peers.has_seed(method) else 2)


def _path(method: str, case: Case, seed: int, keep: Path) -> Path:
    words = "".join(letter for letter in method if letter.isalnum())
    return keep / f"{case.name}_{words}_{seed}.npz"


def _peer(method: str, case: Case, seed: int, keep: Path | None) -> peers.Timed:
    path = None if keep is None else _path(method, case, seed, keep)
    if path is not None and path.is_file():
        with np.load(path) as file:
            return peers.Timed(torch.from_numpy(file["positions"]), float(file["seconds"]))
    made = peers.run(method, case.chains, case.trace, seed)
    if path is not None:
        np.savez_compressed(path, positions=made.positions.numpy(), seconds=made.seconds)
    return made
