"""The repulsion with a cutoff against the repulsion without one."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from flashmd.potential import SumPotential, cut_repulsion, load, save
from flashmd.potential.priors import CutoffExpRepulsion, CutoffRepulsion, HarmonicBonds
from flashmd.system import System
from tests.potential.build import chain, prior, schnet


def frames() -> System:
    """Return three frames of one chain."""
    one = chain(24, seed=4)
    return System.concatenate([one, one.with_positions(1.1 * one.positions), one.with_positions(0.9 * one.positions)])


def potential() -> SumPotential:
    inner = SumPotential({"repulsion": prior("repulsion"), "bonds": prior("bonds")}, name="inner")
    return SumPotential({"SchNet": schnet(), "inner": inner, "exp_repulsion": prior("exp_repulsion")})


def test_terms_are_replaced_and_all_others_shared() -> None:
    whole = potential()
    whole.metadata = {"origin": "test"}
    cut, report = cut_repulsion(whole, 1.2, frames())
    assert isinstance(cut, SumPotential)
    inner = cut.potentials["inner"]
    assert isinstance(inner.potentials["repulsion"], CutoffRepulsion)
    assert isinstance(cut.potentials["exp_repulsion"], CutoffExpRepulsion)
    assert isinstance(inner.potentials["bonds"], HarmonicBonds)
    assert cut.potentials["SchNet"] is whole.potentials["SchNet"]
    assert cut.metadata == {"origin": "test"}
    assert report.terms == ("repulsion", "exp_repulsion")
    assert inner.potentials["repulsion"].constants() == {"cutoff": 1.2}


def test_errors_are_those_of_the_whole_potential() -> None:
    whole, system = potential(), frames()
    cut, report = cut_repulsion(whole, 1.2, system)
    before, after = whole.evaluate(system), cut.evaluate(system)
    change = after.energy - before.energy
    assert report.n_frames == 3
    assert report.energy_shift == pytest.approx(float(change.mean()), rel=1e-9)
    assert report.energy_error == pytest.approx(float(change.std(correction=0)), rel=1e-6)
    error = float((after.forces - before.forces).norm() / before.forces.norm())
    assert report.force_error == pytest.approx(error, rel=1e-6)
    assert 0.0 < report.pairs_within < 1.0
    text = str(report)
    assert text.startswith("repulsion, exp_repulsion cut off at 1.2 nm, ")
    assert f"relative force error {error:.1e}" in text
    assert text.endswith("measured on 3 frames")


def test_errors_fall_with_the_cutoff() -> None:
    term, system = prior("repulsion"), frames()
    errors = [cut_repulsion(term, cutoff, system)[1].force_error for cutoff in (0.8, 1.6, 3.2)]
    assert errors[0] > 10.0 * errors[1] > 100.0 * errors[2]


def test_a_cutoff_is_saved_with_the_model(tmp_path) -> None:
    system = frames().to(dtype=torch.float32)
    cut, _ = cut_repulsion(SumPotential({"repulsion": prior("repulsion", dtype=torch.float32)}), 1.2, system)
    save(cut, tmp_path / "model.safetensors")
    assert torch.equal(load(tmp_path / "model.safetensors").evaluate(system).forces, cut.evaluate(system).forces)


def test_frames_without_pairs() -> None:
    lists = {"repulsion": torch.zeros(0, 2, dtype=torch.int64), "bonds": torch.tensor([[0, 1]])}
    system = dataclasses.replace(chain(4), interactions=lists)
    terms = SumPotential({"repulsion": prior("repulsion"), "bonds": prior("bonds")})
    report = cut_repulsion(terms, 1.0, system)[1]
    assert (report.pairs_within, report.energy_shift, report.force_error) == (0.0, 0.0, 0.0)


def test_wrong_arguments() -> None:
    text = r"`potential`: expected a term of `Repulsion` or `ExpRepulsion`, got none. To fix it, leave the cutoff away"
    with pytest.raises(ValueError, match=text):
        cut_repulsion(prior("bonds"), 1.0, chain(4))
    with pytest.raises(ValueError, match=r"`cutoff` of 'repulsion': expected a positive finite length in nm, got -1"):
        cut_repulsion(prior("repulsion"), -1.0, chain(4))
