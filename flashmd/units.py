"""Internal units (nm, ps, Da, kJ/mol, K, e) and the conversions used at the borders of the package.

With these units no factor appears in an equation of motion: 1 kJ/mol = 1 Da nm^2/ps^2.
"""

from __future__ import annotations

import re

from flashmd.errors import message

BOLTZMANN = 0.00831446261815324
"""Boltzmann constant in kJ/mol/K (exact, SI 2019)."""
KCAL = 4.184
"""One kcal/mol in kJ/mol."""
ANGSTROM = 0.1
"""One angstrom in nm."""
ELECTRONVOLT = 96.48533212331001
"""One eV in kJ/mol (exact, SI 2019)."""

_FACTORS: dict[str, dict[str, float]] = {
    "nm": {"nm": 1.0, "angstrom": ANGSTROM, "A": ANGSTROM, "Å": ANGSTROM, "pm": 1e-3},
    "ps": {"ps": 1.0, "fs": 1e-3, "ns": 1e3, "us": 1e6, "µs": 1e6},
    "K": {"K": 1.0},
    "Da": {"Da": 1.0, "amu": 1.0, "g/mol": 1.0},
    "kJ/mol": {"kJ/mol": 1.0, "kcal/mol": KCAL, "eV": ELECTRONVOLT},
    "1/ps": {"1/ps": 1.0, "1/fs": 1e3, "1/ns": 1e-3, "ps^-1": 1.0},
}
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S.*?)?\s*$")


def parse_quantity(text: str, unit: str) -> float:
    """Convert a quantity such as ``"4 fs"`` or ``"1 / ps"`` to an internal unit.

    Args:
        text: number and unit; blanks around ``/`` do not matter. ``"1 / ps"`` is read as the number 1 and ``1/ps``.
        unit: internal unit wanted: one of nm, ps, K, Da, kJ/mol, 1/ps.

    Raises:
        ValueError: the unit is missing or of another dimension.

    >>> parse_quantity("4 fs", "ps")
    0.004
    >>> parse_quantity("0.5 / ps", "1/ps")
    0.5
    """
    known = _FACTORS[unit]
    match = _QUANTITY.match(text)
    name = re.sub(r"\s*/\s*", "/", match.group(2) or "") if match else ""
    name = f"1{name}" if name.startswith("/") else name
    if match is None or name not in known:
        example = f"write for example `{10 * known[unit]:g} {unit}`" if not unit.startswith("1/") else "write `1 / ps`"
        raise ValueError(message(f"quantity {text!r}", f"a number and one of {', '.join(known)}", repr(text), example))
    return float(match.group(1)) * known[name]
