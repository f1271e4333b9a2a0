"""Layers in 16 bits: channel-wise scales, rounding with feedback, and what they gain over plain rounding."""

from __future__ import annotations

import copy

import pytest
import torch

from flashmd.errors import ToleranceNotMetError
from flashmd.nn import SchNet
from flashmd.potential import SchNetPotential
from flashmd.potential.compiled import CompileReport, network, refinement
from flashmd.potential.compiled.calibration import LayerSamples, Rows
from flashmd.potential.compiled.quantization import _nearest_number, equalize_, output_error, plainly_rounded, store
from flashmd.potential.compiled.samples import draw_samples
from flashmd.potential.compiled.stored_layers import store_network
from flashmd.system import System
from tests.potential.build import BACKEND, chain, schnet

STORED = {"float16": torch.float16, "bfloat16": torch.bfloat16, "int16": torch.int16}
UNITS = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "int16": 1.0 / 32767.0}
"""Largest rounding error of a weight relative to itself, or for integers to the largest of its channel."""
SIZES = {"n_channels": 24, "n_filters": 20, "n_basis": 16, "readout": (16,)}
FACTOR = 1000.0


@pytest.fixture(autouse=True)
def few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks are settled with fewer frames than those that are used."""
    monkeypatch.setattr(network, "MEASUREMENT_ATOMS", 120)
    monkeypatch.setattr(network, "CALIBRATION_ATOMS", 320)


def frames() -> System:
    return System.concatenate([chain(20, seed=seed) for seed in range(4)])


def inputs_of(n: int, n_in: int, *, biased: bool = False, seed: int = 0) -> LayerSamples:
    """Correlated inputs, as those of a layer behind another one are."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(4, n_in, generator=generator, dtype=torch.float64)
    rows = [
        torch.randn(n, 4, generator=generator, dtype=torch.float64) @ mixing
        + 0.1 * torch.randn(n, n_in, generator=generator, dtype=torch.float64)
        for _ in range(2)
    ]
    if biased:
        rows = [torch.cat([each, torch.full((n, 1), one)], 1) for each, one in zip(rows, (1.0, 0.0), strict=True)]
    return LayerSamples(Rows(*rows), None)


def weights(n_out: int, n_in: int) -> torch.Tensor:
    return torch.randn(n_out, n_in, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize("precision", STORED)
def test_feedback_beats_plain_rounding(precision: str) -> None:
    weight, inputs = weights(12, 30), inputs_of(400, 30)
    stored = store(weight, None, inputs, STORED[precision])
    assert stored.weight.dtype == STORED[precision]
    error = output_error(stored.dequantized() - weight, weight, inputs.inputs)
    plain = output_error(plainly_rounded(weight, STORED[precision]) - weight, weight, inputs.inputs)
    assert error < 0.5 * plain


@pytest.mark.parametrize("precision", STORED)
def test_independent_inputs_leave_the_nearest_values(precision: str) -> None:
    """Without correlations an error cannot be made up for elsewhere."""
    weight = weights(5, 6)
    stored = store(
        weight,
        None,
        LayerSamples(Rows(torch.eye(6, dtype=torch.float64), torch.zeros(6, 6, dtype=torch.float64)), None),
        STORED[precision],
    )
    largest = weight.abs().amax(1, keepdim=True)
    size = largest if precision == "int16" else weight.abs()
    assert bool(((stored.dequantized() - weight).abs() <= 0.5 * 1.001 * UNITS[precision] * 2.0 * size).all())


@pytest.mark.parametrize("precision", STORED)
def test_scaled_channels_are_stored_as_well_as_before(precision: str) -> None:
    weight, inputs = weights(6, 8), inputs_of(50, 8)
    factors = torch.tensor([1.0, FACTOR, 1.0, 1e-3, 1.0, 1e6], dtype=torch.float64)
    plain = store(weight, None, inputs, STORED[precision])
    scaled = store(weight * factors[:, None], None, inputs, STORED[precision])
    assert torch.equal(scaled.weight, plain.weight)
    torch.testing.assert_close(scaled.scale, plain.scale * factors, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("precision", STORED)
def test_outputs_that_matter_together_are_rounded_together(precision: str) -> None:
    """The energy depends on few combinations of the outputs; errors that these do not see are free."""
    weight, inputs = weights(24, 20), inputs_of(300, 20)
    gradients = inputs_of(300, 24, seed=8).inputs
    errors = []
    for met in (inputs, LayerSamples(inputs.inputs, gradients)):
        change = store(weight, None, met, STORED[precision]).dequantized() - weight
        errors.append(float((gradients.values @ change @ inputs.inputs.values.t()).norm()))
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_numbers_are_rounded_as_torch_rounds_them(precision: str) -> None:
    generator = torch.Generator().manual_seed(0)
    exponents = torch.randint(-30, 3, (500,), generator=generator)
    values = torch.randn(500, generator=generator, dtype=torch.float64) * 2.0**exponents
    nearest = _nearest_number(STORED[precision])
    expected = values.to(STORED[precision]).to(torch.float64)
    assert [nearest(value) for value in values.tolist()] == expected.tolist()
    assert nearest(0.0) == 0.0


def test_the_bias_takes_the_mean_error() -> None:
    weight, inputs = weights(7, 9), inputs_of(500, 9, biased=True).inputs
    shifted = Rows(inputs.values + torch.tensor([2.0] * 9 + [0.0]), inputs.slopes)
    bias = torch.ones(7, dtype=torch.float64)
    stored = store(weight, bias, LayerSamples(shifted, None), torch.bfloat16)
    change = torch.cat([stored.dequantized() - weight, (stored.bias - bias)[:, None]], 1)
    with_bias = (shifted.values @ change.t()).mean(0).norm()
    without = (shifted.values[:, :9] @ change[:, :9].t()).mean(0).norm()
    assert float(with_bias) < 0.3 * float(without)


def test_channels_without_weights_or_inputs() -> None:
    weight, nothing = weights(3, 4), torch.zeros(5, 4, dtype=torch.float64)
    weight[1] = 0.0
    stored = store(weight, None, LayerSamples(Rows(nothing, nothing), None), torch.int16)
    torch.testing.assert_close(stored.dequantized(), weight, rtol=0.0, atol=1e-4)
    assert not bool(stored.weight[1].any())


def test_equalized_channels_have_messages_of_size_one() -> None:
    network = schnet(**SIZES).network
    n_filters, n_channels = SIZES["n_filters"], SIZES["n_channels"]
    met = {f"blocks.{k}.mix": inputs_of(60, n_filters, biased=True, seed=k) for k in range(2)}
    for k in range(2):
        gradients = inputs_of(60, n_filters, seed=k + 2).inputs
        met[f"blocks.{k}.project"] = LayerSamples(inputs_of(60, n_channels, seed=k).inputs, gradients)
    before = copy.deepcopy(network)
    equal = equalize_(network, met)
    for k, (new, old) in enumerate(zip(network.blocks, before.blocks, strict=True)):
        values = equal[f"blocks.{k}.mix"].inputs.values
        torch.testing.assert_close(values[:, :n_filters].square().mean(0), torch.ones(n_filters, dtype=torch.float64))
        assert torch.equal(values[:, n_filters], torch.ones(60, dtype=torch.float64))
        size = met[f"blocks.{k}.mix"].inputs.values[:, :n_filters].square().mean(0).sqrt()
        torch.testing.assert_close(new.project.weight * size[:, None], old.project.weight, rtol=1e-12, atol=1e-12)
        gradients = [each[f"blocks.{k}.project"].gradients.values for each in (equal, met)]
        torch.testing.assert_close(gradients[0], gradients[1] * size, rtol=1e-12, atol=1e-12)
        x, filters = torch.ones(n_channels, dtype=torch.float64), torch.rand(n_filters, dtype=torch.float64)
        pair = [(block.project(x) * filters) @ block.mix.weight.t() for block in (new, old)]
        torch.testing.assert_close(pair[0], pair[1], rtol=1e-12, atol=1e-12)


def report_of(potential: SchNetPotential, system: System, **options: object) -> CompileReport:
    return potential.compile(system, tolerance=1.0, **options).reports["SchNet"]


@pytest.mark.parametrize("filters", ["table", "network"])
@pytest.mark.parametrize("precision", STORED)
def test_a_network_in_16_bits(precision: str, filters: str) -> None:
    potential, system = schnet(**SIZES), frames()
    report = report_of(potential, system, precision=precision, filters=filters)
    assert report.force_error < 0.8 * report.plain_force_error
    assert report.force_error < 2.0 * UNITS[precision]
    names = {each.name for each in report.layers}
    assert {"blocks.0.project", "blocks.1.update", "readout.layers.0"} <= names
    assert "readout.layers.1" not in names, "one row in full precision costs nothing and matters most"
    assert ("filter_network.weight_out.1" in names) == (filters == "network")
    assert all(0.0 < each.error < UNITS[precision] for each in report.layers)
    assert sum(each.error for each in report.layers) < 0.7 * sum(each.plain for each in report.layers)


def test_scales_and_biases_make_up_for_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    potential, system = schnet(**SIZES), frames()
    refined = report_of(potential, system, precision="bfloat16")
    monkeypatch.setattr(refinement, "N_STEPS", 0)
    assert refined.force_error < 0.8 * report_of(potential, system, precision="bfloat16").force_error


def test_products_of_the_refinement_are_adjoint() -> None:
    exact, system = schnet(**SIZES).network.requires_grad_(False), frames()
    samples = draw_samples(exact, system, n_atoms=60, seed=1, backend=BACKEND)
    stored = store_network(exact, samples, torch.bfloat16, filters=False, seed=1, backend=BACKEND)
    problem = refinement._Problem(stored.network, stored.layers, samples, BACKEND)
    generator = torch.Generator().manual_seed(3)
    residual = torch.randn(problem.start.shape, generator=generator, dtype=torch.float64)
    change = torch.randn(problem.gradient.shape, generator=generator, dtype=torch.float64)
    forward = float(problem.forces_along(change) @ residual)
    assert float(change @ problem.gradient_along(residual)) == pytest.approx(forward, rel=1e-4)
    assert abs(forward) > 1e-6


def scale_channel_(network: SchNet, channel: int) -> None:
    """Multiply what a filter channel sends and divide where it is read; the energy stays the same."""
    with torch.no_grad():
        for block in network.blocks:
            block.project.weight[channel] *= FACTOR
            block.mix.weight[:, channel] /= FACTOR


@pytest.mark.parametrize("precision", STORED)
def test_a_channel_in_other_units_costs_nothing(precision: str) -> None:
    potential, system = schnet(**SIZES), frames()
    before = report_of(potential, system, precision=precision)
    expected = potential.evaluate(system)
    scale_channel_(potential.network, 3)
    torch.testing.assert_close(potential.evaluate(system).forces, expected.forces, rtol=1e-9, atol=1e-9)
    after = report_of(potential, system, precision=precision)
    assert after.force_error == pytest.approx(before.force_error, rel=0.02)
    assert after.force_error < 0.5 * after.plain_force_error
    if precision == "int16":
        assert after.plain_force_error > 100.0 * before.plain_force_error


def test_stored_bits_are_what_is_evaluated() -> None:
    """The energy is that of the stored weights: the network with these weights gives the same."""
    potential, system = schnet(**SIZES), frames()
    compiled = potential.compile(system, precision="bfloat16", tolerance=1.0)
    exact = potential.compile(system)
    difference = (compiled.evaluate(system).forces - exact.evaluate(system).forces).norm()
    relative = float(difference / exact.evaluate(system).forces.norm())
    assert relative == pytest.approx(compiled.reports["SchNet"].force_error, rel=0.6)


def test_it_is_refused_by_default_where_it_is_too_coarse() -> None:
    with pytest.raises(
        ToleranceNotMetError, match=r"at most 1.0e-04, got \d.\de-0\d at best. To fix it, choose another"
    ):
        schnet(**SIZES).compile(frames(), precision="bfloat16", tolerance=1e-4)
