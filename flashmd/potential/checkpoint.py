"""Model files: safetensors with one JSON document that says how to rebuild the potential.

Nothing in a file is executed: classes are looked up by registered name and get JSON values and tensors. Every way in
which a file can be wrong raises a CheckpointError that names what was found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

import flashmd.potential.priors
from flashmd.errors import CheckpointError, message
from flashmd.files import write_atomically
from flashmd.potential.base import Potential
from flashmd.potential.registry import registered

FORMAT = "flashmd-potential"
VERSION = 1
UNITS = {"length": "nm", "energy": "kJ/mol", "time": "ps", "mass": "Da"}
_RESERVED = ("format", "version", "flashmd_version", "units", "cutoff", "bead_types", "sha256")
_LARGEST_HEADER = 100 * 1024 * 1024


def save(potential: Potential, path: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a potential.

    Args:
        potential: a potential of a registered class.
        path: file to write, by custom `*.safetensors`; replaced at once where it exists.
        metadata: JSON values that say where the model comes from; added to those the potential has.

    Raises:
        TypeError: the class cannot be saved or the metadata are no JSON values.
        OutputError: the file cannot be written; what was there stays.
    """
    own = {key: value for key, value in potential.metadata.items() if key not in _RESERVED}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "flashmd_version": flashmd.__version__,
        "units": UNITS,
        "cutoff": potential.cutoff,
        "bead_types": potential.bead_types,
        "potential": {"class": type(potential).__name__, **potential.to_spec()},
        "metadata": {**own, **(metadata or {})},
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in potential.state_dict().items()}
    # The order of the terms is kept: it is the order of summation. A file appears complete or not at all.
    data = safetensors.torch.save(tensors, metadata={"flashmd": json.dumps(document)})
    write_atomically(Path(path), data, advice="save the model again")


def load(path: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Potential:
    """Read a potential.

    Args:
        path: model file, or the name of a shipped model such as ``"chignolin-ca"``.
        dtype: floating-point type of the result.
        device: device of the result.

    Returns:
        The potential in evaluation mode; `metadata` holds what `save` was given and the `sha256` of the file.

    Raises:
        CheckpointError: the file is missing, truncated, too long, of another format or version, or inconsistent.
    """
    file = resolve(path)
    document = read_metadata(file)
    try:
        tensors = safetensors.torch.load_file(str(file))
    except (SafetensorError, OSError) as error:
        raise _refused(file, "a complete safetensors file", str(error)) from error
    potential = _rebuild(file, document["potential"])
    _fill(file, potential, tensors)
    reserved = {key: document.get(key) for key in _RESERVED if key != "sha256"}
    potential.metadata = {**document.get("metadata", {}), **reserved, "sha256": model_hash(file)}
    if document.get("bead_types") is not None:
        potential.bead_types = {str(name): int(number) for name, number in document["bead_types"].items()}
    return potential.to(device=device, dtype=dtype).eval()


def model_hash(path: str | Path) -> str:
    """Return the sha256 of a model file as hexadecimal text."""
    return hashlib.sha256(resolve(path).read_bytes()).hexdigest()


def resolve(path: str | Path) -> Path:
    """Return the path of a model file given by path or by the name of a shipped model.

    Raises:
        CheckpointError: there is neither such a file nor such a model.
    """
    if Path(path).is_file():
        return Path(path)
    shipped = _shipped_models()
    if str(path) in shipped:
        return shipped[str(path)]
    names = ", ".join(shipped) or "none shipped"
    fix = "check the path, or train a model with `flashmd train`"
    raise CheckpointError(message("the model", f"a file or one of: {names}", repr(str(path)), fix))


def _shipped_models() -> dict[str, Path]:
    """Return the files of the shipped models by name, from the installed package or from the project's folder."""
    package = Path(__file__).resolve().parents[1]
    files = [*package.glob("data/models/*.safetensors"), *package.parent.glob("data/models/*.safetensors")]
    return {file.stem.replace("_", "-"): file for file in sorted(files)}


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the JSON document of a model file after checking its outer form.

    Raises:
        CheckpointError: the file is truncated, too long, no safetensors file, or of another format or version.
    """
    file = resolve(path)
    header = _header(file)
    text = header.get("__metadata__", {}).get("flashmd")
    if text is None:
        raise _refused(file, "the entry `flashmd` in its metadata", f"{sorted(header.get('__metadata__', {}))}")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise _refused(file, "JSON in its metadata", str(error)) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise _refused(file, f"format {FORMAT!r}", repr(found))
    if document.get("version") != VERSION:
        got = f"version {document.get('version')!r} of flashmd {document.get('flashmd_version', 'unknown')}"
        raise _refused(file, f"version {VERSION} of the format", got, "use the flashmd that wrote it")
    if not isinstance(document.get("potential"), dict):
        raise _refused(file, "a description of the potential", repr(document.get("potential")))
    return document


def _header(file: Path) -> dict[str, Any]:
    """Read the safetensors header and compare the size it promises with the size of the file."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, _LARGEST_HEADER):
            raise _refused(file, "a safetensors file", f"{size} bytes that are none or a truncated one")
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _refused(file, "a safetensors file", f"an unreadable header ({error})") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        state = "truncated" if size < expected else "followed by other data"
        raise _refused(file, f"{expected} bytes", f"{size} bytes, so it is {state}")
    result: dict[str, Any] = header
    return result


def _rebuild(file: Path, spec: Mapping[str, Any]) -> Potential:
    try:
        return registered(str(spec.get("class"))).from_spec(spec)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        got = f"one that does not fit: {type(error).__name__}: {error}"
        raise _refused(file, "a valid description of the potential", got) from error


def _fill(file: Path, potential: Potential, tensors: Mapping[str, Tensor]) -> None:
    """Give the rebuilt potential exactly the stored tensors, in the stored precision."""
    own = potential.state_dict()
    missing, extra = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
    if missing or extra:
        raise _refused(file, "the tensors of its potential", f"missing {missing[:5]}, unknown {extra[:5]}")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise _refused(file, f"{name!r} of shape {tuple(own[name].shape)}", f"{tuple(tensor.shape)}")
        if tensor.is_floating_point() != own[name].is_floating_point():
            raise _refused(file, f"{name!r} of a type like {own[name].dtype}", f"{tensor.dtype}")
        if not bool(torch.isfinite(tensor).all()):
            raise _refused(file, f"finite values of {name!r}", "a value that is not finite")
    floating = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if floating == {torch.float64}:
        potential.double()
    potential.load_state_dict(dict(tensors), strict=True)


def _refused(file: Path, expected: str, got: str, fix: str = "copy or convert the file again") -> CheckpointError:
    return CheckpointError(message(f"model file {file.name!r}", expected, got, fix))
