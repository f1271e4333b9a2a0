"""Files made to harm or to mislead are refused with a message that names what was found, and nothing in them runs."""

from __future__ import annotations

import pickle
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from flashmd.errors import CheckpointError
from flashmd.potential.mlcg_import import load_any
from flashmd.potential.mlcg_import.archive import Archive
from flashmd.potential.mlcg_import.unpickle import unpickle
from tests.mlcg_files import Call, Described, Name, Persistent, dump, module, tensor, write, write_archive

FLOATS = torch.arange(6.0)
HONEST = Path(__file__).parents[1] / "continuity" / "data" / "foreign_v1.pt"


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    """File that the hostile programs would create."""
    return tmp_path / "executed"


def _programs(sentinel: Path) -> dict[str, tuple[Any, str]]:
    command = f"touch {sentinel}"
    code = f"__import__('pathlib').Path({str(sentinel)!r}).touch()"
    builtins = Call(Name("builtins", "__import__"), ("os",))
    system = Call(Name("builtins", "getattr"), (builtins, "system"))
    return {
        "os.system": (Call(Name("os", "system"), (command,)), r"'os\.system'"),
        "posix": (Call(Name("posix", "system"), (command,)), r"'posix\.system'"),
        "subprocess": (Call(Name("subprocess", "check_output"), (["touch", str(sentinel)],)), r"'subprocess\."),
        "getattr chain": (Call(system, (command,)), r"'builtins\.getattr'|'builtins\.__import__'"),
        "eval by old path": (Call(Name("__builtin__", "eval"), (code,)), r"'__builtin__\.eval'"),
        "exec": (Call(Name("builtins", "exec"), (code,)), r"'builtins\.exec'"),
        "dotted name in a known package": (Call(Name("torch", "os.system"), (command,)), r"'torch\.os\.system'"),
        "state of an unknown class": (Described("webbrowser.Chrome", {"a": 1}), r"'webbrowser\.Chrome'"),
        "inside a model": (
            module("torch.nn.modules.container.ModuleDict", hook=Call(Name("os", "system"), (command,))),
            r"'os\.system'",
        ),
    }


@pytest.mark.parametrize("kind", list(_programs(Path("x"))))
def test_programs_are_named_and_not_run(kind: str, tmp_path: Path, sentinel: Path) -> None:
    content, found = _programs(sentinel)[kind]
    with pytest.raises(CheckpointError, match=found):
        load_any(write(tmp_path / "model.pt", content))
    assert not sentinel.exists()


def test_the_same_program_does_run_elsewhere(tmp_path: Path, sentinel: Path) -> None:
    # The sentinel would appear if anything were called: Python's own reader calls it.
    description, _ = dump(_programs(sentinel)["eval by old path"][0])
    pickle.loads(description)
    assert sentinel.exists()


def test_call_inside_a_known_package_stays_a_record(tmp_path: Path) -> None:
    content = Call(Name("torch.serialization", "load"), (str(tmp_path / "other.pt"),))
    with pytest.raises(CheckpointError, match=r"`model`: expected a module, got <torch\.serialization\.load>"):
        load_any(write(tmp_path / "model.pt", content))


def test_stack_global_is_inspected(tmp_path: Path) -> None:
    program = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."
    members = {"a/data.pkl": program}
    with pytest.raises(CheckpointError, match=r"'os\.system'"):
        load_any(write_archive(tmp_path / "model.pt", members))


@pytest.mark.parametrize(
    ("program", "found"),
    [
        (b"\x80\x02", "ValueError"),  # ends early
        (b"\x80\x02)R.", "IndexError"),
        (b"\x80\x02h\x07.", "KeyError"),
        (b"\x80\x02NN.", "expected one object, got 2"),
        (b"\x80\x02(.", "expected one object"),
        (b"\x80\x02}(]Nu.", "a list as a key"),
        (b"\x80\x02}(Nu.", "storing items in dict"),
        (b"\x80\x02}]Ns.", "a list as a key"),
        (b"\x80\x02\x82\x01.", "`EXT1`"),
        (b"\x80\x02Pdata\n.", "`PERSID`"),
        (b"\x80\x02(cos\nsystem\no.", r"'os\.system'"),
        (b"(S'true'\nios\nsystem\n.", "`INST`"),
    ],
)
def test_malformed_instructions(program: bytes, found: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=found):
        load_any(write_archive(tmp_path / "model.pt", {"a/data.pkl": program}))


@pytest.mark.parametrize(
    ("description", "found"),
    [
        (tensor("FloatStorage", "0", 10**12, (6,), (1,)), "1000000000000 elements = 4000000000000 bytes, got 24 bytes"),
        (tensor("DoubleStorage", "0", 6, (6,), (1,)), "6 elements = 48 bytes, got 24 bytes"),
        (tensor("FloatStorage", "0", 6, (7,), (1,)), "storage of 6, got element 6"),
        (tensor("FloatStorage", "0", 6, (2, 2), (4, 2)), "got element 6"),
        (tensor("FloatStorage", "0", 6, (2,), (1,), offset=5), "got element 6"),
        (tensor("FloatStorage", "0", 6, (2,), (1,), offset=-1), "non-negative integers, got -1"),
        (tensor("FloatStorage", "0", 6, (2,), (-1,), offset=3), "non-negative integers, got -1"),
        (tensor("FloatStorage", "0", 6, (10**6, 10**6), (0, 0)), "overlapping strides"),
        (tensor("FloatStorage", "0", 6, (3, 3), (1, 1)), "overlapping strides"),
        (tensor("FloatStorage", "0", 6, (2, 2), (1,)), "one stride for each dimension"),
        (tensor("FloatStorage", "../../etc/passwd", 6, (6,), (1,)), "a number as its name, got '../../etc/passwd'"),
        (tensor("FloatStorage", "7", 6, (6,), (1,)), "a member `data/7`"),
        (tensor("QInt8Storage", "0", 6, (6,), (1,)), "got `QInt8Storage`"),
        (Persistent(("module", "os")), "references to storages"),
    ],
)
def test_tensors_that_leave_their_storage(description: Any, found: str, tmp_path: Path) -> None:
    content = {"state_dict": description}
    with pytest.raises(CheckpointError, match=found.replace("(", r"\(")):
        load_any(write(tmp_path / "model.pt", content, {"0": FLOATS.numpy().tobytes()}))


@pytest.mark.parametrize(
    ("indices", "values", "shape", "found"),
    [
        ([[0, 30], [1, 1]], [1.0, 2.0], (25, 25), r"index \[30, 1\]"),
        ([[0, -1], [1, 1]], [1.0, 2.0], (25, 25), r"index \[-1, 1\]"),
        ([[0, 1]], [1.0, 2.0], (25, 25), "2 int64 indices for each value"),
        ([[0], [0]], [1.0], (2**40, 2**40), "fewer than"),
    ],
)
def test_sparse_tables_outside_their_shape(
    indices: list[list[int]], values: list[float], shape: tuple[int, ...], found: str, tmp_path: Path
) -> None:
    layout = Call(Name("torch.serialization", "_get_layout"), ("torch.sparse_coo",))
    parts = (torch.tensor(indices), torch.tensor(values), shape)
    content = Call(Name("torch._utils", "_rebuild_sparse_tensor"), (layout, parts))
    with pytest.raises(CheckpointError, match=found):
        load_any(write(tmp_path / "model.pt", content))


def test_big_endian(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="byte order: expected little, got 'big'"):
        load_any(write(tmp_path / "model.pt", [FLOATS], byteorder=b"big"))


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
def test_truncated_archive(keep: float, tmp_path: Path) -> None:
    path = write(tmp_path / "model.pt", [FLOATS])
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(CheckpointError, match="a truncated or damaged file"):
        load_any(path)


def test_flipped_byte(tmp_path: Path) -> None:
    path = write(tmp_path / "model.pt", [FLOATS])
    content = bytearray(path.read_bytes())
    position = content.index(FLOATS.numpy().tobytes())
    content[position + 4] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="member `data/0`: expected checksum"):
        load_any(path)


def test_compression_bomb(tmp_path: Path) -> None:
    description, _ = dump([tensor("FloatStorage", "0", 2**25, (2**25,), (1,))])
    members = {"a/data.pkl": description, "a/data/0": bytes(2**27)}
    path = write_archive(tmp_path / "model.pt", members, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    with pytest.raises(CheckpointError, match="stored data, as torch writes it, got a compressed"):
        load_any(path)


def test_overlapping_members(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "model.pt", {"a/data.pkl": b"\x80\x02N.", "a/data/0": b"0123", "a/data/1": b"0123"})
    content = bytearray(path.read_bytes())
    # Point the directory entry of the last member at the header of the one before, which then needs its name.
    first, last = content.index(b"PK\x03\x04", 4), content.rindex(b"PK\x01\x02")
    name = content.rindex(b"a/data/1")
    content[last + 42 : last + 46] = struct.pack("<I", first)
    content[name : name + 8] = b"a/data/0"
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="two of that name"):
        load_any(path)


def test_member_inside_another(tmp_path: Path) -> None:
    inner = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 8, 0) + b"a/data/9"
    path = write_archive(tmp_path / "model.pt", {"a/data.pkl": b"\x80\x02N.", "a/data/0": inner, "a/data/9": b""})
    content = bytearray(path.read_bytes())
    last = content.rindex(b"PK\x01\x02")
    content[last + 42 : last + 46] = struct.pack("<I", content.index(inner))
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="member `data/9`: expected its own bytes"):
        load_any(path)


@pytest.mark.parametrize(
    "name", ["../data.pkl", "/etc/passwd", "a/../../x", "a\\..\\x", "a//x", "C:/x", "data.pkl", "a/x\n"]
)
def test_paths_of_members(name: str, tmp_path: Path) -> None:
    path = write_archive(tmp_path / "model.pt", {"a/data.pkl": b"\x80\x02N.", name: b"x"})
    with pytest.raises(CheckpointError, match="expected members below one folder, got the path"):
        load_any(path)
    assert list(tmp_path.iterdir()) == [path]


def test_two_roots(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "model.pt", {"a/data.pkl": b"\x80\x02N.", "b/data.pkl": b"\x80\x02N."})
    with pytest.raises(CheckpointError, match="got 2 folders"):
        load_any(path)


def test_other_kinds_of_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(CheckpointError, match="expected a torch zip archive, got another kind of file"):
        load_any(path)
    with pytest.raises(CheckpointError, match="expected a file, got nothing or a folder"):
        load_any(tmp_path / "absent.pt")


def test_endless_nesting(tmp_path: Path) -> None:
    # A module that contains itself, written with memo instructions.
    program = (
        b"\x80\x02ctorch.nn.modules.container\nModuleDict\n)\x81q\x00}(X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x00s"
        b"X\x0b\x00\x00\x00_parameters}X\x08\x00\x00\x00_buffers}ub."
    )
    with pytest.raises(CheckpointError, match="at most 12 levels of modules"):
        load_any(write_archive(tmp_path / "model.pt", {"a/data.pkl": program}))


def test_deep_nesting_of_tuples_as_a_key(tmp_path: Path) -> None:
    program = b"\x80\x02}N" + b"\x85" * 200_000 + b"Ns."
    with pytest.raises(CheckpointError, match="a tuple as a key"):
        load_any(write_archive(tmp_path / "model.pt", {"a/data.pkl": program}))


def test_exponential_nesting_is_not_expanded(tmp_path: Path) -> None:
    # Each level holds the one before twice: a billion leaves in a kilobyte.
    program = b"\x80\x02N" + b"q\x00h\x00\x86" * 60 + b"."
    with pytest.raises(CheckpointError, match="a model or configurations"):
        load_any(write_archive(tmp_path / "model.pt", {"a/data.pkl": program}))


def test_random_damage_never_escapes(tmp_path: Path) -> None:
    # Whatever is overwritten, cut or repeated, the file loads or is refused; no other exception, no warning.
    with zipfile.ZipFile(HONEST) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    rng = random.Random(0)
    refused = 0
    for _ in range(300):
        program = bytearray(members["archive/data.pkl"])
        place, length = rng.randrange(len(program)), rng.randrange(1, 12)
        program[place : place + rng.randrange(length)] = rng.choice(
            (rng.randbytes(length), program[place // 2 :][:length])
        )
        path = write_archive(tmp_path / "model.pt", members | {"archive/data.pkl": bytes(program)})
        try:
            load_any(path)
        except CheckpointError:
            refused += 1
    assert refused > 200


def test_files_that_torch_writes(tmp_path: Path) -> None:
    content = {"b": torch.arange(6.0).reshape(2, 3).T, "a": [torch.ones(2, dtype=torch.int64)]}
    torch.save(content, tmp_path / "new.pt")
    read = unpickle(Archive(tmp_path / "new.pt"))
    assert torch.equal(read["b"], content["b"])
    assert torch.equal(read["a"][0], content["a"][0])
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="a torch zip archive, got another kind of file"):
        load_any(tmp_path / "old.pt")
