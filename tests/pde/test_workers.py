"""Chunks on several threads: the same bits, the same errors, and torch as it was before."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from flashmd.pde import Estimate, Parabolic, Surrogate, SurrogateNetwork, correct
from flashmd.pde.settings import CorrectionSettings
from flashmd.pde.workers import PIECES, Workers, worker_count
from tests.pde.cases import BURGERS, SMALL, bent, quadratic_problem, settings, zero

CPU = torch.device("cpu")
CHUNKED = 6 * 8 * 40


@pytest.fixture(autouse=True)
def settings_are_restored() -> Iterator[None]:
    before = torch.get_num_threads(), sys.getswitchinterval()
    yield
    assert (torch.get_num_threads(), sys.getswitchinterval()) == before


def network() -> Surrogate:
    module = SurrogateNetwork(6, [24, 20], T=0.5, terminal=BURGERS.problem.terminal).requires_grad_(False)
    return Surrogate(module)


WAYS = {
    "residual": ("newton", "residual", network(), {}),
    "martingale": ("newton", "martingale", network(), {}),
    "auto": ("newton", "auto", network(), {"evaluations_per_point": 4000}),
    "coefficient": ("newton", "martingale", bent(BURGERS), {"variance": ("coefficient",)}),
    "sobol": ("newton", "residual", bent(BURGERS), {"variance": ("sobol",), "sobol_paths": 4}),
    "gradient": ("newton", "martingale", Surrogate(BURGERS.rough.__call__), {"gradient": True}),
    "picard": ("mlp", "residual", network(), {"replicates": 4, "gradient": True}),
    "nodes": ("mlp-quad", "residual", network(), {"replicates": 4}),
}


def run(way: str, **changes: object) -> Estimate:
    method, form, surrogate, more = WAYS[way]
    chosen = settings(**{"steps": 4, "largest_tensor": CHUNKED, "evaluations_per_point": 1000, **more, **changes})
    t, x = BURGERS.points(7, 6)
    return correct(BURGERS.problem, surrogate, t, x, method=method, form=form, settings=chosen)


@pytest.mark.parametrize("way", WAYS)
def test_threads_change_no_bit(way: str) -> None:
    before = torch.get_num_threads()
    results = []
    for threads, workers in ((1, None), (2, None), (1, 1), (1, 3)):
        torch.set_num_threads(threads)
        results.append(run(way, workers=workers))
    torch.set_num_threads(before)
    for other in results[1:]:
        for part in ("value", "standard_error", "skewness", "bias_bound"):
            torch.testing.assert_close(
                getattr(results[0], part), getattr(other, part), rtol=0.0, atol=0.0, equal_nan=True
            )
        if other.gradient is not None and results[0].gradient is not None:
            assert torch.equal(other.gradient, results[0].gradient)
        assert other.evaluations == results[0].evaluations


def test_functions_are_called_by_as_many_threads_as_are_asked_for() -> None:
    callers: set[int] = set()

    def drift(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        callers.add(threading.get_ident())
        time.sleep(1e-3)
        return torch.zeros_like(x)

    problem = Parabolic(d=6, T=0.5, drift=drift, diffusion=0.3, terminal=lambda x: x.sum(1))
    t, x = BURGERS.points(7, 6)
    for workers, expected in ((1, 1), (3, 3)):
        callers.clear()
        chosen = settings(steps=4, largest_tensor=CHUNKED, workers=workers)
        correct(problem, Surrogate(zero), t, x, form="martingale", settings=chosen)
        assert len(callers - {threading.main_thread().ident}) == (0 if workers == 1 else expected)


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_coefficients_arrive(workers: int) -> None:
    problem = Parabolic(d=6, T=0.5, drift=lambda t, x: x.log(), diffusion=0.3, terminal=lambda x: x.sum(1))
    t, x = BURGERS.points(7, 6)
    chosen = settings(steps=4, largest_tensor=CHUNKED, workers=workers)
    with pytest.raises(ValueError, match=r"`drift`: expected finite values, got NaN or infinity"):
        correct(problem, Surrogate(zero), t, x, form="martingale", settings=chosen)


def test_the_first_error_is_raised_and_later_pieces_are_dropped() -> None:
    begun: list[int] = []

    def work(piece: int) -> int:
        begun.append(piece)
        time.sleep(0.05 if piece == 1 else 0.0)
        if piece in {1, 2}:
            raise ValueError(f"piece {piece}")
        return piece

    with pytest.raises(ValueError, match="piece 1"), Workers(2) as workers:
        list(workers.map(work, range(1000)))
    assert len(begun) < 10


def test_an_interrupt_ends_the_work() -> None:
    # A shell that starts a process in the background has it ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def work(piece: int) -> int:
        if piece == 0:
            _thread.interrupt_main()
        time.sleep(0.1)
        return piece

    begin = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt), Workers(2) as workers:
            list(workers.map(work, range(1000)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.perf_counter() - begin < 5.0


@pytest.mark.parametrize("enabled", [True, False])
def test_workers_differentiate_where_the_caller_does(enabled: bool) -> None:
    with torch.set_grad_enabled(enabled), Workers(2) as workers:
        assert list(workers.map(lambda _: torch.is_grad_enabled(), range(4))) == [enabled] * 4


def test_memory_limits_pieces_at_a_time() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def work(_: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(2e-3)
        with lock:
            now -= 1

    for limit in (2, 4):
        most = 0
        with Workers(4) as workers:
            list(workers.map(work, range(40), at_a_time=limit))
        assert most == limit


def test_who_gets_several_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    open_end = SurrogateNetwork(3, [8], T=1.0, terminal=quadratic_problem().terminal)
    count = {
        "default": worker_count(None, CPU, network(), second=True),
        "asked": worker_count(5, CPU, network(), second=True),
        "most": worker_count(500, CPU, network(), second=True),
        "gpu": worker_count(5, torch.device("cuda"), network(), second=True),
        "forward mode": worker_count(5, CPU, Surrogate(zero), second=True),
        "forward mode of the terminal value": worker_count(5, CPU, Surrogate(open_end), second=True),
        "gradients": worker_count(5, CPU, Surrogate(zero), second=False),
        "any code": worker_count(5, CPU, Surrogate(zero, derivatives="differences"), second=False),
    }
    torch.set_num_threads(before)
    assert list(count.values()) == [3, 5, PIECES, 1, 1, 1, 5, 1]


def test_forward_mode_stays_on_one_thread() -> None:
    """Of all problems of the library, with a surrogate that has no derivatives of its own."""
    case = SMALL["reaction_diffusion"]
    t, x = case.points(5, 0)
    plain = Surrogate(lambda t, x: case.rough(t, x))
    values = [
        correct(case.problem, plain, t, x, form="residual", settings=settings(steps=4, workers=workers)).value
        for workers in (1, 4)
    ]
    assert torch.equal(*values)


@pytest.mark.parametrize(("workers", "error"), [(0, ValueError), (1.5, TypeError)])
def test_numbers_of_workers_that_cannot_be(workers: float, error: type[Exception]) -> None:
    with pytest.raises(error, match="`workers`"):
        CorrectionSettings(workers=workers)  # type: ignore[arg-type]
