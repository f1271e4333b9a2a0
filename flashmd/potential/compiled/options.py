"""How a potential is compiled."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from flashmd.errors import message
from flashmd.potential.compiled.quantization import STORAGE

FILTERS = ("table", "network")
PRECISIONS = ("float32", *STORAGE)
TOLERANCE = 1e-5
"""Default relative force error of tables and of single precision."""
STORED_TOLERANCE = 2e-3
"""Default relative force error of layers in 16 bits."""


@dataclass(frozen=True)
class CompileOptions:
    """Choices of :meth:`flashmd.potential.Potential.compile`.

    Attributes:
        filters: "table" or "network".
        precision: "float32", "float16", "bfloat16" or "int16".
        tolerance: largest relative force error, or None for the default.
        backend: "kernel" or "reference".
        repulsion_cutoff: distance at which the repulsion between pairs ends, nm, or None.

    Raises:
        ValueError: one of them is none of these, or the tolerance is not positive.
    """

    filters: str = "table"
    precision: str = "float32"
    tolerance: float | None = None
    backend: str = "kernel"
    repulsion_cutoff: float | None = None

    def __post_init__(self) -> None:
        for name, known in (("filters", FILTERS), ("precision", PRECISIONS)):
            if (value := getattr(self, name)) not in known:
                expected = f"one of {', '.join(known)}"
                raise ValueError(message(f"`{name}`", expected, repr(value), "choose one of these"))
        if self.tolerance is not None and not self.tolerance > 0.0:
            fix = "pass the largest relative error of the forces"
            raise ValueError(message("`tolerance`", "a positive number", f"{self.tolerance}", fix))

    @property
    def storage(self) -> torch.dtype | None:
        """Type in which dense layers are stored, or None where they stay as they are."""
        return STORAGE.get(self.precision)

    @property
    def allowed(self) -> float:
        """Largest relative force error of the result."""
        return self.tolerance or (TOLERANCE if self.storage is None else STORED_TOLERANCE)

    @property
    def allowed_of_table(self) -> float:
        """Largest relative force error of the table by itself."""
        return min(self.allowed, TOLERANCE)
