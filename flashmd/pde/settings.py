"""Settings of a correction."""

from __future__ import annotations

from dataclasses import dataclass

from flashmd.errors import message
from flashmd.pde.checks import check_choice, check_names, check_whole
from flashmd.pde.grid import QUADRATURES, check_grid

METHODS = ("newton", "linear", "mlp", "mlp-quad")
FORMS = ("auto", "residual", "martingale")
VARIANCE = ("antithetic", "sobol", "coefficient")


@dataclass(frozen=True)
class CorrectionSettings:
    """Set accuracy, budget and variance reduction of a correction.

    Attributes:
        rtol: relative tolerance of standard error plus bias bound.
        atol: absolute tolerance; a point has converged below ``atol + rtol * |value|``.
        evaluations_per_point: budget of evaluations of the surrogate for each point. Comparing the forms ("auto") may
            take a tenth more.
        max_seconds: wall-clock budget after which no round begins, or None. Results then depend on the machine.
        variance: any of "antithetic" (mirror paths), "sobol" (scrambled nets of `sobol_paths`) and "coefficient"
            (a fitted factor of the control variate, martingale form).
        steps: time steps of the paths ("newton", "linear").
        grading: exponent of the time grid: step k of n ends after the share ``(k / n) ** grading`` of the time; above
            one, steps are shorter near the start, where the solution along a path changes fastest.
        quadrature: rule of the integrals over time. "trapezoid" takes the steps as they are; "lobatto" places them at
            the nodes of Gauss and Lobatto, so that two or three steps are enough where drift and discount are small.
        sobol_paths: points of each net, a power of two.
        samples: samples of Picard iteration: row n - 1 holds those of level n, at the horizon and at levels 0 to
            n - 1; None makes the largest tree of two levels that allows `replicates` of them.
        replicates: independent trees at least, where `samples` is None.
        nodes: quadrature nodes ("mlp-quad").
        gradient: estimate the gradient as well. "newton" and "linear" differentiate every path, so terminal value and
            source must be continuous; the weights of Picard iteration need no derivative of them.
        seed: seed of all noise.
        largest_tensor: numbers in the largest tensors [rows, d] of all chunks at a time; bounds the memory.
        workers: chunks that are computed side by side on CPU threads, up to eight, or None for as many as torch has
            threads. All functions are then called on several threads at a time: pass 1 where they keep state.
            Surrogates that need torch's forward mode, or differences, always take one.

    Example:
        >>> from flashmd.pde import CorrectionSettings
        >>> CorrectionSettings(rtol=1e-2, seed=3).steps
        20
    """

    rtol: float = 1e-3
    atol: float = 0.0
    evaluations_per_point: int = 20_000
    max_seconds: float | None = None
    variance: tuple[str, ...] = ("antithetic",)
    steps: int = 20
    grading: float = 1.0
    quadrature: str = "trapezoid"
    sobol_paths: int = 16
    samples: tuple[tuple[int, ...], ...] | None = None
    replicates: int = 16
    nodes: int = 4
    gradient: bool = False
    seed: int = 0
    largest_tensor: int = 1 << 22
    workers: int | None = None

    def __post_init__(self) -> None:
        for name in ("evaluations_per_point", "steps", "nodes", "largest_tensor", "replicates", "sobol_paths"):
            check_whole(name, getattr(self, name), at_least=2 if name == "replicates" else 1)
        if self.workers is not None:
            check_whole("workers", self.workers, at_least=1)
        check_whole("seed", self.seed)
        if not (self.rtol >= 0.0 and self.atol >= 0.0):
            got = f"rtol={self.rtol}, atol={self.atol}"
            raise ValueError(message("the tolerances", "numbers of at least 0", got, "pass 0 to use the whole budget"))
        if not 0.0 < self.grading < float("inf"):
            fix = "pass 1 for equal steps, 2 for short ones near the start"
            raise ValueError(message("`grading`", "a positive exponent", str(self.grading), fix))
        check_choice("quadrature", self.quadrature, QUADRATURES)
        check_grid(self.grading, self.quadrature)
        check_names("variance", self.variance, VARIANCE)
