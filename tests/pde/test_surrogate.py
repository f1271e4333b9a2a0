"""All ways to differentiate a surrogate give the same derivatives."""

from __future__ import annotations

import pytest
import torch

from flashmd.pde import (
    CorrectionSettings,
    Parabolic,
    Surrogate,
    SurrogateNetwork,
    SurrogateTraining,
    correct,
    train_surrogate,
)
from flashmd.pde.problems import REFERENCE_PROBLEMS
from tests.pde.cases import SMALL

F64 = torch.float64
# Central differences of step 1e-4 in float64: 1e-8 of truncation and of rounding in second derivatives.
DIFFERENCES = 2e-6


def points(n: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return 0.4 * torch.rand(n, generator=generator, dtype=F64), torch.randn(n, d, generator=generator, dtype=F64)


def network(d: int, widths: list[int], terminal: object = None, *, hard: bool = True) -> SurrogateNetwork:
    made = SurrogateNetwork(d, widths, T=0.5, terminal=terminal, hard=hard, seed=3).double()  # type: ignore[arg-type]
    made.fit_scale(*points(50, d))
    return made


def products(x: torch.Tensor) -> torch.Tensor:
    return (x[:, 1:] * x[:, :-1]).sum(1)


FUNCTIONS = {
    "few_inputs": network(3, [8, 7]),
    "many_inputs": network(12, [4, 5]),
    "deep": network(12, [30, 20, 7], products),
    "wide": network(3, [50, 30]),
    "terminal": network(4, [6], lambda x: x.pow(3).sum(1)),
    "soft_terminal": network(12, [4, 5], products, hard=False),
    "closed_terminal": network(6, [6], SMALL["burgers"].problem.terminal),
    **{f"rough_{name}": SMALL[name].rough for name in REFERENCE_PROBLEMS},
    **{f"exact_{name}": SMALL[name].exact for name in REFERENCE_PROBLEMS if name != "hamilton_jacobi"},
}
DIMENSION = {"few_inputs": 3, "many_inputs": 12, "deep": 12, "wide": 3, "terminal": 4, "soft_terminal": 12}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_closed_derivatives_equal_automatic_ones(name: str) -> None:
    function, d = FUNCTIONS[name], DIMENSION.get(name, 6)
    t, x = points(4, d)
    sigma = torch.linspace(0.5, 2.0, d, dtype=F64)[None]
    closed, forward = (Surrogate(function, derivatives=way).jet(t, x, sigma) for way in ("auto", "forward"))
    for part in ("value", "gradient", "time_derivative", "second"):
        torch.testing.assert_close(getattr(closed, part), getattr(forward, part), rtol=1e-9, atol=1e-11)


def test_differences_and_matrices() -> None:
    function, (t, x) = network(3, [8, 8]), points(4, 3)
    generator = torch.Generator().manual_seed(5)
    matrix = torch.randn(4, 3, 3, generator=generator, dtype=F64)
    forward = Surrogate(function, derivatives="forward").jet(t, x, matrix)
    values = Surrogate(lambda t, x: function(t, x).numpy(force=True), derivatives="differences")
    differences = values.jet(t, x, matrix)
    for part in ("value", "gradient", "time_derivative", "second"):
        found, expected = getattr(differences, part), getattr(forward, part)
        torch.testing.assert_close(found, expected, rtol=DIFFERENCES, atol=DIFFERENCES)
    hessian = torch.func.vmap(torch.func.hessian(lambda t, x: function(t[None], x[None])[0], 1))(t, x)
    trace = 0.5 * torch.einsum("nij,nik,njk->n", hessian, matrix, matrix)
    torch.testing.assert_close(forward.second, trace)


def test_random_directions_average_to_the_exact_second_derivative() -> None:
    surrogate, (t, x) = Surrogate(network(2, [8]), derivatives="hutchinson"), points(4, 2)
    sigma = torch.tensor([[0.7, 1.3]], dtype=F64)
    # The four patterns of two signs, all of them, are the expectation.
    patterns = [torch.tensor(signs, dtype=F64).expand(4, 2) for signs in [(1, 1), (1, -1), (-1, 1), (-1, -1)]]
    seconds = [surrogate.jet(t, x, sigma, signs).second for signs in patterns]
    exact = Surrogate(network(2, [8])).jet(t, x, sigma).second
    torch.testing.assert_close(torch.stack(seconds).mean(0), exact)


def test_kinks_are_found_among_modules() -> None:
    relu = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    assert not Surrogate(relu).smooth
    assert not Surrogate(relu).has_second
    assert Surrogate(network(2, [3])).has_second
    assert not Surrogate(network(2, [3]), derivatives="none").has_second
    assert not Surrogate(lambda t, x: x.relu().sum(1), smooth=False).has_second


def test_differences_of_single_precision_take_longer_steps() -> None:
    t, x = points(4, 3)
    function = network(3, [8, 8])
    single = Surrogate(lambda t, x: function(t, x).numpy(force=True).astype("float32"), derivatives="differences")
    found, exact = (s.jet(t, x, torch.ones(1, 3, dtype=F64)) for s in (single, Surrogate(function)))
    torch.testing.assert_close(found.gradient, exact.gradient, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.second, exact.second, rtol=2e-2, atol=1e-2)


def test_layers_in_training_mode_are_refused() -> None:
    class Dropping(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Dropout())

        def forward(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x)[:, 0]

    case, module = SMALL["convection"], Dropping()
    t, x = torch.zeros(2), torch.zeros(2, 6)
    text = r"the surrogate: expected a module in evaluation mode, got an active Dropout. To fix it, call `eval\(\)`"
    with pytest.raises(ValueError, match=text):
        correct(case.problem, Surrogate(module), t, x)


def test_coefficients_see_double_precision_in_training_and_correction() -> None:
    matrix = torch.eye(3, dtype=F64)
    problem = Parabolic(
        d=3,
        T=1.0,
        drift=lambda t, x: -x @ matrix,
        terminal=lambda x: (x @ matrix).sum(1),
        diffusion=lambda t, x: x @ matrix + 2.0,
    )
    training = SurrogateTraining(widths=(4,), iterations=2, batch=4)
    surrogate = train_surrogate(problem, lambda n, seed: points(n, 3), training)
    estimate = correct(problem, surrogate, *points(2, 3), settings=CorrectionSettings(evaluations_per_point=80))
    assert estimate.value.isfinite().all()


def test_wrong_surrogates() -> None:
    t, x = points(4, 3)
    with pytest.raises(TypeError, match="the surrogate: expected a function, got float"):
        Surrogate(3.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match='the result of the surrogate: expected a tensor, got ndarray.*"differences"'):
        Surrogate(lambda t, x: x.numpy().sum(1)).value(t, x)
    with pytest.raises(ValueError, match=r"the surrogate: expected a result of shape \(4,\), got \(4, 1\)"):
        Surrogate(lambda t, x: x[:, :1]).value(t, x)
    with pytest.raises(ValueError, match="`derivatives`: expected one of auto, forward"):
        Surrogate(lambda t, x: t, derivatives="backward")


def test_precision_of_the_parameters() -> None:
    t, x = points(4, 3)
    single = Surrogate(network(3, [8]).float())
    jet = single.jet(t, x, torch.ones(1, 3, dtype=F64))
    exact = Surrogate(network(3, [8])).jet(t, x, torch.ones(1, 3, dtype=F64))
    assert jet.second is not None
    assert jet.second.dtype == jet.value.dtype == F64
    torch.testing.assert_close(jet.second, exact.second, rtol=1e-4, atol=1e-5)
