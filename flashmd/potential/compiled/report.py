"""What compiling a network cost in accuracy, measured against the network in double precision."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerError:
    """Relative error of the outputs of a stored layer on the calibration data.

    Attributes:
        name: of the layer.
        error: of the layer as stored.
        plain: of the same weights rounded one by one, with one scale for the whole layer.
    """

    name: str
    error: float
    plain: float


@dataclass(frozen=True)
class CompileReport:
    """Accuracy of one compiled network.

    Attributes:
        filters: "table" or "network".
        precision: storage of the dense layers.
        dtype: of the calculation, such as "float32".
        n_knots: knots of the table, or None without one.
        tolerance: largest force error that was allowed.
        force_error: norm of the error of all forces over the norm of all forces, the worst kind of frame.
        energy_error: root mean square error of the energy of an atom, kJ/mol.
        plain_force_error: force error with plainly rounded layers, or None where none are stored.
        n_frames: frames measured.
        shortest: shortest distance met, nm.
        layers: errors of the stored layers.
    """

    filters: str
    precision: str
    dtype: str
    n_knots: int | None
    tolerance: float
    force_error: float
    energy_error: float
    plain_force_error: float | None
    n_frames: int
    shortest: float
    layers: tuple[LayerError, ...] = ()

    def summary(self) -> str:
        """Return the report in one line."""
        filters = "exact filters" if self.n_knots is None else f"filters in a table of {self.n_knots} knots"
        stored = "" if self.precision == "float32" else f", layers stored as {self.precision}"
        return (
            f"{filters}{stored}, {self.dtype}: relative force error {self.force_error:.1e} "
            f"(allowed {self.tolerance:.1e}), energy error {self.energy_error:.1e} kJ/mol per bead, "
            f"measured on {self.n_frames} frames with distances from {self.shortest:.3f} nm"
        )

    def __str__(self) -> str:
        """Return the summary and, where layers are stored in 16 bits, their errors."""
        lines = [self.summary()]
        if self.plain_force_error is not None:
            lines.append(f"force error with plainly rounded layers: {self.plain_force_error:.1e}")
            lines += [f"  {each.name}: {each.error:.1e} (plainly rounded {each.plain:.1e})" for each in self.layers]
        return "\n".join(lines)
