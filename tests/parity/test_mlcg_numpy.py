"""Every class that the importer knows against an independent NumPy version in the file's own units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flashmd.potential.mlcg_import import load_any
from flashmd.potential.mlcg_import.archive import Archive
from flashmd.potential.mlcg_import.tensors import SparseTable
from flashmd.potential.mlcg_import.unpickle import Node, unpickle
from flashmd.units import KCAL
from tests import mlcg_models as models
from tests.mlcg_files import module, write
from tests.parity import reference_mlcg as reference

# Both sides work in float64; sums of some hundred terms lose a few digits.
TOLERANCE = 1e-11


def _frames(content: Any) -> list[dict[str, Any]]:
    return [each.state["_store"].state["_mapping"] for each in content]


def _array(value: torch.Tensor) -> np.ndarray[Any, Any]:
    return np.asarray(value, dtype=np.float64 if value.is_floating_point() else np.int64)


@pytest.mark.parametrize("basis", ["exp_normal", "gaussian"])
@pytest.mark.parametrize("activation", ["Tanh", "SiLU"])
def test_random_schnet(basis: str, activation: str, tmp_path: Path) -> None:
    network = models.schnet(getattr(models, basis)(), activation=activation)
    content = (models.wrapped("SchNet", network), models.configurations({}))
    imported = load_any(write(tmp_path / "model.pt", content))
    assert imported.model is not None
    state = reference.flatten(network)
    for system, frame in zip(imported.systems, _frames(content[1]), strict=True):
        expected = reference.schnet_energy(
            state, _array(frame["pos"]), _array(frame["atom_types"]), models.CUTOFF, activation
        )
        assert imported.model.energy(system).item() == pytest.approx(KCAL * expected, rel=TOLERANCE)


def _tables(form: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return buffers and attributes of a prior with random parameters."""
    rng, dense = models.generator(5), models.dense
    angles = {name: dense(3, rng, -2.0, 2.0) for name in ("a", "b", "c", "d", "v_0")} | {"k": dense(3, rng, 0.1, 0.9)}
    quartic = {"ks": dense(3, rng, -2.0, 2.0, rows=4), "v_0": dense(3, rng, -1.0, 1.0)}
    order = {"distance": 2, "cosine": 3, "angle": 3, "torsion": 4}[reference.FORMS[form][0]]
    harmonic = {"k": dense(order, rng, 2.0, 90.0), "x_0": dense(order, rng, -0.5, 1.5)}
    exponential = {"alpha": dense(2, rng, 5.0, 9.0), "r_0": dense(2, rng, 3.0, 5.0)}
    special: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "Dihedral": (
            {"v_0": dense(4, rng, -1, 1)} | {name: dense(4, rng, -2.0, 2.0, rows=3) for name in ("k1s", "k2s")},
            {},
        ),
        "Repulsion": ({"sigma": dense(2, rng, 2.5, 4.5)}, {}),
        "CutoffRepulsion": ({"sigma": dense(2, rng, 2.5, 4.5)}, {"cutoff": 8.0}),
        "ExpRepulsion": (exponential, {}),
        "CutoffExpRepulsion": (exponential, {"cutoff": 8.0}),
        "QuarticAngles": (quartic, {}),
        "QuarticRawAngles": (quartic, {}),
        "RestrictedQuartic": (angles, {}),
    }
    return special.get(form, (harmonic, {}))


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("form", list(reference.FORMS))
def test_random_priors(form: str, is_sparse: bool, tmp_path: Path) -> None:
    tables, attributes = _tables(form)
    order = 2 if reference.FORMS[form][0] == "distance" else 4 if reference.FORMS[form][0] == "torsion" else 3
    terms = models.PAIRS if "Repulsion" in form else models.consecutive(order)
    buffers = {name: models.sparse(table) for name, table in tables.items()} if is_sparse else tables
    described = module(f"mlcg.nn.prior.{form}", buffers=buffers, name="terms", order=order, **attributes)
    content = (models.wrapped("terms", described), models.configurations({"terms": terms}))
    imported = load_any(write(tmp_path / "model.pt", content))
    assert imported.model is not None
    arrays = {name: _array(table) for name, table in tables.items()} | attributes
    for system, frame in zip(imported.systems, _frames(content[1]), strict=True):
        expected = reference.prior_energy(
            form, arrays, _array(frame["pos"]), _array(frame["atom_types"]), terms.numpy()
        )
        assert abs(expected) > 1e-3
        assert imported.model.energy(system).item() == pytest.approx(KCAL * expected, rel=TOLERANCE)


def test_published_networks(shared_data: Path) -> None:
    folder = shared_data / "mlcg"
    whole = unpickle(Archive(folder / "schnet_cln_ca_specialized_model_and_config.pt"))
    trained = unpickle(Archive(folder / "schnet_train.ckpt"))
    demo = unpickle(Archive(folder / "cln_configurations_demo.pt"))
    network = whole[0].state["_modules"]["models"].state["_modules"]["SchNet"].state["_modules"]["model"]
    state = {
        key.removeprefix("model.model."): _array(value)
        for key, value in trained["state_dict"].items()
        if key.startswith("model.model.")
    }
    cases = [
        ("schnet_cln_ca_specialized_model_and_config.pt", reference.flatten(network), 5.0, whole[1]),
        ("schnet_train.ckpt", state, 15.0, demo),
    ]
    for name, weights, upper, frames in cases:
        imported = load_any(folder / name)
        assert imported.model is not None
        systems = imported.systems or load_any(folder / "cln_configurations_demo.pt").systems
        for system, frame in zip(systems, _frames(frames), strict=True):
            expected = reference.schnet_energy(weights, _array(frame["pos"]), _array(frame["atom_types"]), upper)
            found = imported.model.terms(system)["SchNet"].item()
            assert found == pytest.approx(KCAL * expected, rel=TOLERANCE)


def _lookup(table: Any, rows: int | None) -> Any:
    """Return a dense array, or a function that reads a sparse table."""
    if not isinstance(table, SparseTable):
        return _array(table)
    entries = {
        tuple(index): value for index, value in zip(table.indices.T.tolist(), table.values.tolist(), strict=True)
    }
    if rows is None:
        return lambda key: entries.get(key, 0.0)
    return lambda key: np.array([entries.get((row, *key), 0.0) for row in range(rows)])


@pytest.mark.parametrize("name", ["prior.pt", "sparse_prior_cln_5b.pt"])
def test_published_priors(name: str, shared_data: Path) -> None:
    folder = shared_data / "mlcg"
    described: Node = unpickle(Archive(folder / name))
    frame = _frames(unpickle(Archive(folder / "structures_cln_5b.pt")))[1]
    imported = load_any(folder / name).model
    assert imported is not None
    system = load_any(folder / "structures_cln_5b.pt").systems[1]
    found = {key: value.item() for key, value in imported.terms(system).items()}
    assert len(found) == len(described.state["_modules"])
    for key, wrapper in described.state["_modules"].items():
        prior = wrapper.state["_modules"]["model"]
        terms = _array(frame["neighbor_list"][key]["index_mapping"]).T
        buffers = prior.state["_buffers"]
        tables = {k: _lookup(v, v.shape[0] if k in reference.SERIES else None) for k, v in buffers.items()}
        expected = reference.prior_energy(
            prior.origin.name, tables, _array(frame["pos"]), _array(frame["atom_types"]), terms
        )
        assert found[key] == pytest.approx(KCAL * expected, rel=TOLERANCE, abs=1e-12)
