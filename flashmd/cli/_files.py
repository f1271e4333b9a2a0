"""Open what a user names on the command line: models and structures of every kind, recognised by their content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flashmd.errors import CheckpointError, message, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from flashmd.cg import Resolution
    from flashmd.potential import Potential
    from flashmd.system import System

_ARCHIVE = b"PK\x03\x04"
_STRUCTURES = (".pdb", ".cif", ".pdbx", ".gro", ".h5")
_TRAJECTORIES = (".xtc", ".dcd", ".trr", ".nc")


def is_archive(path: Path) -> bool:
    """Whether a file is a torch archive."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == _ARCHIVE


def open_model(name: str, *, dtype: torch.dtype) -> tuple[Potential | None, list[System]]:
    """Return the model and the configurations of a file; files of our own hold no configurations.

    Args:
        name: a file of ours, a torch archive of the CGSchNet family, or the name of a shipped model.
        dtype: of parameters and coordinates.
    """
    path = Path(name)
    if is_archive(path):
        from flashmd.potential.mlcg_import import load_any

        content = load_any(path)
        model = None if content.model is None else content.model.to(dtype=dtype)
        return model, [system.to(dtype=dtype) for system in content.systems]
    if path.is_file() and path.suffix != ".safetensors":
        fix = "pass a `.safetensors` file or a `.pt` or `.ckpt` file of torch"
        got = f"a file that is neither, with suffix {path.suffix!r}"
        raise CheckpointError(message(f"model `{path}`", "a flashmd model or a torch archive", got, fix))
    from flashmd.potential import checkpoint

    return checkpoint.load(name, dtype=dtype), []


def open_structures(
    name: str,
    *,
    topology: str | None,
    model: Potential,
    described: Sequence[System],
    resolution: str | None,
    dtype: torch.dtype,
) -> list[System]:
    """Return the frames of a structure, a trajectory, a configuration file or a restart file.

    Args:
        name: path of the file.
        topology: structure file that describes a trajectory.
        model: tells the resolution to which atoms are mapped.
        described: configurations in the model's file, whose beads a restart file places.
        resolution: "ca" or "five_bead" where the model does not tell.
        dtype: of the coordinates.
    """
    path = Path(name)
    if not path.is_file():
        raise ValueError(message(f"structures `{path}`", "a file", "nothing of that name", "check the path"))
    if is_archive(path):
        from flashmd.potential.mlcg_import import load_any

        content = load_any(path)
        if content.restart is not None:
            return content.restart.place(described)
        systems = [system.to(dtype=dtype) for system in content.systems]
        if not systems:
            fix = "pass a file of configurations or a structure"
            raise ValueError(message(f"structures `{path}`", "configurations", "a file with none", fix))
        return systems
    known = (*_STRUCTURES, *_TRAJECTORIES)
    if path.suffix.lower() not in known:
        fix = "convert the file, for example with mdtraj"
        expected = f"a configuration file (.pt) or one of {', '.join(known)}"
        raise ValueError(message(f"structures `{path}`", expected, f"suffix {path.suffix!r}", fix))
    return _mapped_frames(path, topology, _as_resolution(resolution) or _resolution(model), dtype)


def _mapped_frames(path: Path, topology: str | None, resolution: Resolution, dtype: torch.dtype) -> list[System]:
    try:
        import mdtraj
    except ImportError as error:
        raise require("mdtraj", "data") from error
    from flashmd.cg import build_system, map_structure

    if topology is None and path.suffix.lower() in _TRAJECTORIES:
        fix = "pass `--topology` with a PDB file of the same atoms"
        raise ValueError(message(f"trajectory `{path}`", "a topology", "none", fix))
    structure = map_structure(path if topology is None else mdtraj.load(str(path), top=topology), resolution)
    first = build_system(structure, dtype=dtype)
    return [first.with_positions(structure.positions[frame].to(dtype)) for frame in range(structure.n_frames)]


def _as_resolution(name: str | None) -> Resolution | None:
    if name is None:
        return None
    if name == "ca":
        return "ca"
    if name == "five_bead":
        return "five_bead"
    raise ValueError(message("`--resolution`", "ca or five_bead", repr(name), "pass one of the two"))


def _resolution(model: Potential) -> Resolution:
    from flashmd.potential.resolution import particles_of

    particles = particles_of(model)
    if particles == "atoms":
        fix = "use the model from ASE or OpenMM"
        raise ValueError(message("the particles of the model", "beads", "atoms", fix))
    return particles


def parse_dtype(name: str) -> torch.dtype:
    """Return a floating-point type by name."""
    import torch

    types = {"float32": torch.float32, "float64": torch.float64}
    if name not in types:
        raise ValueError(message("`--dtype`", "float32 or float64", repr(name), "pass one of the two"))
    return types[name]
