"""Make the released-format model and the golden numbers beside it: `python -m tests.continuity.make_golden`.

The numbers are computed by the NumPy version in tests/parity, not by the package, and are not to be made again: a later
version of the package must load the file of this one and reproduce them.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from flashmd.potential import checkpoint
from flashmd.potential.mlcg_import import load_any
from flashmd.units import ANGSTROM, KCAL
from tests import mlcg_models as models
from tests.mlcg_files import module, write
from tests.parity import reference_mlcg as reference

DATA = Path(__file__).parent / "data"


def main() -> None:
    """Write model_v1.safetensors, golden_v1.json and foreign_v1.pt."""
    rng = models.generator(11)
    tables = {
        "bonds": ("HarmonicBonds", {"k": models.dense(2, rng, 20, 80), "x_0": models.dense(2, rng, 3.6, 4.0)}),
        "angles": ("HarmonicAngles", {"k": models.dense(3, rng, 5, 20), "x_0": models.dense(3, rng, -0.6, 0.2)}),
        "dihedrals": (
            "Dihedral",
            {name: models.dense(4, rng, -1, 1, rows=2) for name in ("k1s", "k2s")}
            | {"v_0": models.dense(4, rng, 0, 1)},
        ),
        "non_bonded": ("Repulsion", {"sigma": models.dense(2, rng, 3.0, 4.5)}),
    }
    lists = {
        "bonds": models.consecutive(2),
        "angles": models.consecutive(3),
        "dihedrals": models.consecutive(4),
        "non_bonded": models.PAIRS,
    }
    network = models.schnet(seed=12)
    parts = {name: module(f"mlcg.nn.prior.{form}", buffers=table, name=name) for name, (form, table) in tables.items()}
    described = models.configurations(lists)
    content = (models.summed({"SchNet": network} | parts), described)
    write(DATA / "foreign_v1.pt", content)
    with tempfile.TemporaryDirectory() as folder:
        imported = load_any(write(Path(folder) / "tiny.pt", content))
    assert imported.model is not None
    checkpoint.save(imported.model, DATA / "model_v1.safetensors", {"purpose": "continuity test"})
    frames = []
    for each in described:
        mapping = each.state["_store"].state["_mapping"]
        positions, types = mapping["pos"].double().numpy(), mapping["atom_types"].numpy()
        terms = {"SchNet": reference.schnet_energy(reference.flatten(network), positions, types, models.CUTOFF)}
        for name, (form, table) in tables.items():
            arrays = {key: np.asarray(value, dtype=np.float64) for key, value in table.items()}
            terms[name] = reference.prior_energy(form, arrays, positions, types, lists[name].numpy())
        kilojoules = {name: KCAL * value for name, value in terms.items()}
        frames.append({"positions": (positions * ANGSTROM).tolist(), "terms": kilojoules})
    golden = {
        "units": {"length": "nm", "energy": "kJ/mol"},
        "types": models.TYPES.tolist(),
        "interactions": {name: index.tolist() for name, index in lists.items()},
        "frames": frames,
    }
    (DATA / "golden_v1.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
