"""Measure distances across angles and of contacts in known structures for flashmd.backmap.physics.

Angles of united atoms include the push of hydrogens that have no coordinates, so they are taken from structures: the
median distance of the outer atoms. Of each pair of united atoms the distance is written that few contacts fall below:

    python examples/data_generation/backmap_geometry.py train_chains.npz flashmd/backmap/physics/geometry.json
"""

import json
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np
import torch

from flashmd.backmap.dataset import Structure, load_structures
from flashmd.backmap.physics.fragments import angle_names
from flashmd.backmap.physics.pairs import close_pairs
from flashmd.backmap.physics.parameters import KINDS
from flashmd.backmap.physics.topology import build_topology, disulfides
from flashmd.backmap.residues import N_SLOTS, RESIDUES

NEAR = 0.45  # nm, atoms closer than this are in contact
RARE = {3: 0.01, 4: 0.02}  # share of contacts below the written distance, by bonds between the atoms
FEWEST = 200  # contacts of a pair of united atoms, below which it gets the default
EVERY = 4  # contacts are so many that one structure in four is enough
DEFAULT = {"3": 0.27, "4": 0.33}  # nm
LONGEST = {"3": 0.29, "4": 0.38}  # nm; atoms three bonds apart may be kept far by rings and planes instead


def angle_distances(structures: list[Structure]) -> dict[str, float]:
    """Return the median distance between the outer atoms of every angle, nm."""
    types = torch.cat([structure.chains.types for structure in structures])
    joined = torch.cat([structure.chains.joined for structure in structures])[:-1]
    rows = torch.cat([structure.positions.flatten(0, 1) for structure in structures])
    fragments: list[tuple[int, int | None, torch.Tensor]] = [
        (kind, None, types == kind) for kind in range(len(RESIDUES))
    ]
    for first, second in product(range(len(RESIDUES)), repeat=2):
        chosen = (types[:-1] == first) & (types[1:] == second) & joined
        fragments += [(first, second, chosen)]
    found: dict[str, list[torch.Tensor]] = defaultdict(list)
    for first, other, chosen in fragments:
        places = N_SLOTS * chosen.nonzero()[:, 0]
        for name, one, two in angle_names(first, other):
            found[name].append((rows[places + one] - rows[places + two]).norm(dim=-1))
    return {name: round(float(torch.cat(parts).median()), 5) for name, parts in sorted(found.items())}


def contact_distances(structures: list[Structure]) -> dict[str, list[list[float]]]:
    """Return the distances that few contacts of two united atoms fall below, nm, by the bonds between them."""
    lengths: dict[tuple[int, int], list[np.ndarray]] = defaultdict(list)
    for structure in structures:
        chains, positions = structure.chains, structure.positions
        known = torch.zeros(chains.n_residues, N_SLOTS, dtype=torch.bool)
        topology = build_topology(chains, known, disulfides(chains, positions[None, :, 1]))
        pairs = close_pairs(positions[None], topology, NEAR)
        ends = positions.flatten(0, 1)[pairs.atoms]
        length = (ends[0] - ends[1]).norm(dim=-1).numpy()
        code = pairs.kinds.amin(0) * len(KINDS) + pairs.kinds.amax(0)
        for bonds in RARE:
            for each in code.unique().tolist():
                lengths[bonds, each].append(length[((code == each) & (pairs.bonds == bonds)).numpy()])
    tables = {str(bonds): np.full((len(KINDS), len(KINDS)), DEFAULT[str(bonds)]) for bonds in RARE}
    for (bonds, code), parts in lengths.items():
        contacts, pair = np.concatenate(parts), divmod(code, len(KINDS))
        if len(contacts) >= FEWEST:
            tables[str(bonds)][pair] = tables[str(bonds)][pair[::-1]] = np.quantile(contacts, RARE[bonds])
    return {bonds: table.clip(max=LONGEST[bonds]).round(4).tolist() for bonds, table in tables.items()}


def write(output: Path, angles: dict[str, float], contacts: dict[str, list[list[float]]]) -> None:
    """Write the tables, one row a line."""
    rows = [f'  "{name}": {value}' for name, value in angles.items()]
    blocks = [
        f'  "{bonds}": [\n' + ",\n".join(f"   {row}" for row in table) + "\n  ]" for bonds, table in contacts.items()
    ]
    head = ' "source": "medians and quantiles of Protein Data Bank entries (CC0); nm",\n'
    text = (
        "{\n"
        + head
        + ' "angles": {\n'
        + ",\n".join(rows)
        + '\n },\n "contacts": {\n'
        + ",\n".join(blocks)
        + "\n }\n}\n"
    )
    json.loads(text)
    output.write_text(text, encoding="utf-8")


def main(data: Path, output: Path) -> None:
    """Measure angles, then contacts between atoms that are not bonded."""
    structures = load_structures(data)
    angles = angle_distances(structures)
    write(output, angles, {})
    write(output, angles, contact_distances(structures[::EVERY]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
