"""Write the heavy-atom part of the Amber force field ff14SB as the table of flashmd.backmap.physics.

Read are the parameters that OpenMM ships (Maier et al., J. Chem. Theory Comput. 2015, doi:10.1021/acs.jctc.5b00255).
Of all bonds, angles and torsions only those remain that occur between heavy atoms of the twenty residues:

    python examples/data_generation/backmap_force_field.py flashmd/backmap/physics/amber14.json
"""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import openmm.app

from flashmd.backmap.residues import ATOMS, BONDS, RESIDUES

FIELD = Path(openmm.app.__file__).parent / "data" / "amber14" / "protein.ff14SB.xml"


def classes(root: ET.Element) -> dict[str, dict[str, str]]:
    """Return the class of every heavy atom of every residue; histidine is neutral with its hydrogen on NE2."""
    found = {}
    for name in RESIDUES:
        template = root.find(f"Residues/Residue[@name='{'HIE' if name == 'HIS' else name}']")
        assert template is not None
        kinds = {atom.get("name", ""): atom.get("type", "").removeprefix("protein-") for atom in template.iter("Atom")}
        found[name] = {atom: kinds[atom] for atom in ATOMS[name]}
    return found


def neighbors(first: str, second: str) -> dict[str, list[str]]:
    """Return the bonds of two joined residues; atoms of the second are marked with a plus."""
    bonds = [*BONDS[first], *((f"+{a}", f"+{b}") for a, b in BONDS[second]), ("C", "+N")]
    graph: dict[str, list[str]] = {}
    for one, other in bonds:
        graph.setdefault(one, []).append(other)
        graph.setdefault(other, []).append(one)
    return graph


def paths(length: int, table: dict[str, dict[str, str]]) -> set[tuple[str, ...]]:
    """Return the classes along every path of so many atoms in any two joined residues, in either direction."""
    found = set()
    for first in RESIDUES:
        for second in RESIDUES:
            graph = neighbors(first, second)
            kinds = table[first] | {f"+{atom}": kind for atom, kind in table[second].items()}
            walks = [(atom,) for atom in graph]
            for _ in range(length - 1):
                walks = [(*walk, step) for walk in walks for step in graph[walk[-1]] if step not in walk]
            found |= {tuple(kinds[atom] for atom in walk) for walk in walks}
    return {min(path, path[::-1]) for path in found}


def entry(root: ET.Element, tag: str, path: tuple[str, ...]) -> dict[str, str]:
    """Return the attributes of the most specific parameters of a path of atoms."""
    matches = []
    for item in root.iter(tag):
        kinds = [item.get(f"type{place}", "").removeprefix("protein-") for place in range(1, len(path) + 1)]
        ways = [all(kind in ("", want) for kind, want in zip(kinds, way, strict=True)) for way in (path, path[::-1])]
        if any(ways):
            matches.append((kinds.count(""), dict(item.attrib)))
    return min(matches, key=lambda match: match[0])[1]


def cosines(item: dict[str, str]) -> list[list[float]]:
    """Return [periodicity, phase, k] of the terms of a torsion that do not vanish."""
    places = [place for place in range(1, 7) if float(item.get(f"k{place}", 0))]
    return [[float(item[f"{key}{place}"]) for key in ("periodicity", "phase", "k")] for place in places]


def disulfide(root: ET.Element) -> dict[str, list[list[float]]]:
    """Return length and stiffness of the bond, angle and stiffness beside it."""
    bond, angle = entry(root, "Bond", ("S", "S")), entry(root, "Angle", ("2C", "S", "S"))
    return {
        "bond": [[float(bond["length"]), float(bond["k"])]],
        "angle": [[float(angle["angle"]), float(angle["k"])]],
        "torsion": cosines(entry(root, "Proper", ("2C", "S", "S", "2C"))),
    }


def main(output: Path) -> None:
    """Write the table."""
    root = ET.parse(FIELD).getroot()
    table = classes(root)
    bonds = {path: entry(root, "Bond", path) for path in paths(2, table)}
    angles = {path: entry(root, "Angle", path) for path in paths(3, table)}
    torsions = {path: cosines(entry(root, "Proper", path)) for path in paths(4, table)}
    content = {
        "source": "Amber ff14SB as shipped with OpenMM, doi:10.1021/acs.jctc.5b00255; nm, kJ/mol, rad",
        "classes": table,
        "bonds": {" ".join(path): [float(item["length"]), float(item["k"])] for path, item in sorted(bonds.items())},
        "angles": {" ".join(path): [float(item["angle"]), float(item["k"])] for path, item in sorted(angles.items())},
        "torsions": {" ".join(path): rows for path, rows in sorted(torsions.items()) if rows},
        "disulfide": disulfide(root),
    }
    lines = [f' "{key}": {_compact(value)}' for key, value in content.items()]
    output.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _compact(value: object) -> str:
    """Write one entry a line."""
    if not isinstance(value, dict):
        return json.dumps(value)
    return "{\n" + ",\n".join(f'  "{key}": {json.dumps(item)}' for key, item in value.items()) + "\n }"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
