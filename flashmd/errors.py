"""Exceptions of the package and the one form their messages take.

A message says what is wrong, what was expected, what was got and what to do. Wrong arguments raise ValueError or
TypeError; states that arise while the package works raise one of the classes below.
"""

from __future__ import annotations


class FlashMDError(Exception):
    """Base class of the errors that are states of a run rather than wrong arguments."""


class ConfigurationError(FlashMDError, ValueError):
    """A configuration file or an override does not describe a run."""


class CheckpointError(FlashMDError):
    """A model, restart or foreign checkpoint file cannot be used; the message names what was found."""


class OutputError(FlashMDError):
    """A file of a run cannot be written; the message says whether the run can be continued."""


class ExtensionNotBuiltError(FlashMDError, ImportError):
    """The compiled operators are missing or cannot be loaded."""


class MissingDependencyError(FlashMDError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""


class NeighborOverflowError(FlashMDError):
    """More neighbour pairs were found than the list has room for."""

    def __init__(self, found: int, capacity: int) -> None:
        self.found = found
        self.capacity = capacity
        super().__init__(
            message("the neighbour list", f"at most {capacity} edges", f"{found}", "pass a larger `capacity`")
        )


class NonFiniteForceError(FlashMDError):
    """A force or coordinate stopped being finite (or exploded) during dynamics."""

    def __init__(self, step: int, system: int, atom: int, detail: str = "") -> None:
        self.step = step
        self.system = system
        self.atom = atom
        text = message(
            f"force at step {step}, system {system}, atom {atom}",
            "finite numbers",
            "a non-finite value",
            "reduce `time_step`, or check that the model covers this region of configurations",
        )
        super().__init__(f"{text} {detail}".rstrip())


class BadFrameError(FlashMDError):
    """A frame of a trajectory cannot be that of a protein; what was made of the frames before it is complete."""


class EvaluationError(FlashMDError):
    """A model could not be evaluated inside another engine, which hands on nothing but this text."""

    def __init__(self, model: str, step: int, reason: str, largest_force: float | None) -> None:
        self.model = model
        self.step = step
        self.largest_force = largest_force
        before = "There was no evaluation before"
        if largest_force is not None:
            before = f"The largest force in the evaluation before was {largest_force:.3g} kJ/mol/nm"
        super().__init__(f"model `{model}` at step {step}: {reason} {before}.")


class EnergyFailureError(FlashMDError):
    """Too many structures have no finite energy, or the processes that evaluate them are gone."""


class PostTrainingError(FlashMDError):
    """A post-training ended without lowering the energies that it was to lower."""


class ToleranceNotMetError(FlashMDError):
    """A compiled potential is less accurate than was asked for."""

    def __init__(self, achieved: float, tolerance: float, fix: str) -> None:
        self.achieved = achieved
        self.tolerance = tolerance
        expected = f"a relative force error of at most {tolerance:.1e}"
        super().__init__(message("the compiled potential", expected, f"{achieved:.1e} at best", fix))


def message(what: str, expected: str, got: str, fix: str) -> str:
    """Return a message in the package's form.

    >>> message("`cell`", "shape (4, 3, 3)", "(3, 3)", "pass `cell[None].expand(4, 3, 3)`")
    '`cell`: expected shape (4, 3, 3), got (3, 3). To fix it, pass `cell[None].expand(4, 3, 3)`.'
    """
    return f"{what}: expected {expected}, got {got}. To fix it, {fix}."


def require(package: str, extra: str) -> MissingDependencyError:
    """Return the error to raise when an optional package is absent.

    Args:
        package: importable name of the missing package.
        extra: extra of the distribution that installs it.
    """
    fix = f"install it with `pip install flashmd-cg[{extra}]`"
    return MissingDependencyError(message(f"package `{package}`", "it to be importable", "ImportError", fix))
