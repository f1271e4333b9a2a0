"""Models of one tensor of columns as surrogates."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from flashmd.errors import MissingDependencyError
from flashmd.pde import Surrogate, column_surrogate, correct, deepxde_surrogate, gaussian_process_surrogate
from tests.pde.cases import BURGERS, settings

F64 = torch.float64


def wave(columns: torch.Tensor, time: str) -> torch.Tensor:
    """Nearly the solution of Burgers' equation; the column of time counts twice, so its place matters."""
    place = 0 if time == "first" else -1
    return torch.sigmoid(columns.sum(1) + 0.05 * columns[:, place])


@pytest.mark.parametrize("time", ["first", "last"])
def test_columns_are_joined_in_the_order_of_the_model(time: str) -> None:
    t, x = BURGERS.points(20, 0)
    surrogate = column_surrogate(lambda columns: wave(columns, time)[:, None], time=time)
    torch.testing.assert_close(surrogate.value(t, x), torch.sigmoid(1.05 * t + x.sum(1)))
    estimate = correct(BURGERS.problem, surrogate, t, x, settings=settings(evaluations_per_point=2000))
    exact = BURGERS.exact(t, x)
    assert (estimate.value - exact).norm() < 0.2 * (estimate.surrogate - exact).norm()


def test_kinks_and_precision_of_a_network_are_known() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    surrogate = column_surrogate(network)
    assert not surrogate.smooth
    assert surrogate.value(torch.zeros(2, dtype=F64), torch.zeros(2, 2, dtype=F64)).dtype == F64
    assert column_surrogate(torch.nn.Linear(3, 1)).smooth


def test_wrong_place_of_time() -> None:
    with pytest.raises(ValueError, match="`time`: expected one of first, last, got 'middle'"):
        column_surrogate(torch.nn.Linear(3, 1), time="middle")


@pytest.mark.parametrize("time", ["first", "last"])
def test_networks_of_deepxde_are_differentiated_and_other_backends_are_evaluated(time: str) -> None:
    t, x = BURGERS.points(20, 0)
    layers = torch.nn.Sequential(torch.nn.Linear(7, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()

    def predict(columns: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return layers(torch.as_tensor(columns)).numpy()

    network = deepxde_surrogate(SimpleNamespace(net=layers, predict=None), time=time)
    foreign = deepxde_surrogate(SimpleNamespace(net=object(), predict=predict), time=time)
    assert (network.derivatives, foreign.derivatives) == ("auto", "differences")
    sigma = torch.ones(1, 6, dtype=F64)
    for part in ("value", "gradient", "time_derivative", "second"):
        expected, found = (getattr(s.jet(t, x, sigma), part) for s in (network, foreign))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


DEEPXDE = """
import deepxde as dde, torch
from flashmd.pde import deepxde_surrogate
time = dde.geometry.GeometryXTime(dde.geometry.Hypercube([0.0] * 3, [1.0] * 3), dde.geometry.TimeDomain(0, 1))
data = dde.data.TimePDE(time, lambda x, u: u, [], num_domain=4)
network = dde.nn.FNN([4, 8, 1], "tanh", "Glorot uniform")
network.apply_output_transform(lambda columns, u: u + columns[:, 3:])  # time is the last column
model = dde.Model(data, network)
model.compile("adam", lr=1e-3, verbose=0)
t, x = torch.rand(5), torch.rand(5, 3)
surrogate = deepxde_surrogate(model)
predicted = torch.as_tensor(model.predict(torch.cat([x, t[:, None]], 1).numpy()))[:, 0]
torch.testing.assert_close(surrogate.value(t, x).detach(), predicted)
assert surrogate.jet(t, x, torch.ones(1, 3)).second.abs().min() > 0.0
"""


@pytest.mark.skipif(find_spec("deepxde") is None, reason="deepxde is not installed")
def test_a_model_of_deepxde() -> None:
    """In a process of its own, for DeepXDE sets defaults of torch when it is imported."""
    environment = {**os.environ, "DDE_BACKEND": "pytorch", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", DEEPXDE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def gpytorch() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, when it is imported
        return pytest.importorskip("gpytorch")


def process(gpytorch: ModuleType, kernel: object, columns: torch.Tensor, values: torch.Tensor) -> torch.nn.Module:
    class Process(gpytorch.models.ExactGP):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__(columns, values, gpytorch.likelihoods.GaussianLikelihood())
            self.mean_module = gpytorch.means.ConstantMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(kernel)

        def forward(self, columns: torch.Tensor) -> object:
            return gpytorch.distributions.MultivariateNormal(self.mean_module(columns), self.covar_module(columns))

    made = Process().to(columns.dtype)
    made.likelihood.noise = 1e-4
    made.mean_module.constant.data.fill_(0.3)
    return made.eval()


@pytest.mark.parametrize("time", ["first", "last"])
@pytest.mark.parametrize("name", ["RBFKernel", "MaternKernel"])
def test_posterior_means_of_gaussian_processes(gpytorch: ModuleType, name: str, time: str) -> None:
    t, x = BURGERS.points(60, 0)
    columns = torch.cat([t[:, None], x] if time == "first" else [x, t[:, None]], 1)
    kernel = getattr(gpytorch.kernels, name)()
    kernel.lengthscale = 2.0
    model = process(gpytorch, kernel, columns, BURGERS.exact(t, x))
    surrogate = gaussian_process_surrogate(model, time=time)
    t, x = BURGERS.points(6, 1)
    columns = torch.cat([t[:, None], x] if time == "first" else [x, t[:, None]], 1)
    with torch.no_grad():
        torch.testing.assert_close(surrogate.value(t, x), model(columns).mean)
    estimate = correct(BURGERS.problem, surrogate, t, x, settings=settings(steps=4))
    assert estimate.diagnostics["form"] == ("residual" if name == "RBFKernel" else "martingale")
    exact = BURGERS.exact(t, x)
    assert (estimate.value - exact).norm() < 0.5 * (estimate.surrogate - exact).norm()
    if name == "RBFKernel":
        values = Surrogate(lambda t, x: surrogate.value(t, x).numpy(force=True), derivatives="differences")
        jets = [s.jet(t, x, torch.ones(1, 6, dtype=F64)) for s in (surrogate, values)]
        torch.testing.assert_close(jets[0].gradient, jets[1].gradient, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(jets[0].second, jets[1].second, rtol=1e-3, atol=1e-4)


def test_processes_that_are_not_exact(gpytorch: ModuleType) -> None:
    text = "the model: expected an exact Gaussian process with one output, got Linear"
    with pytest.raises(ValueError, match=text):
        gaussian_process_surrogate(torch.nn.Linear(2, 1))


def test_gpytorch_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpytorch", None)
    with pytest.raises(MissingDependencyError, match=r"`pip install flashmd-cg\[surrogates\]`"):
        gaussian_process_surrogate(torch.nn.Linear(2, 1))
