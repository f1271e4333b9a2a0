"""Read the zip container of a foreign checkpoint without trusting it.

Only what `torch.save` writes is accepted: stored (uncompressed) members under one root folder, little-endian, each
inside the file and apart from all others. Compressed members, and with them every decompression bomb, are refused;
nothing is ever written to disk, and no more memory is used than the file has bytes.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from flashmd.errors import CheckpointError, message

MAX_FILE_BYTES = 8 << 30
"""Largest file that is read; published models are below 1 GiB."""
MAX_PICKLE_BYTES = 256 << 20
"""Largest object description inside a file; tensors are stored apart from it."""
MAX_MEMBERS = 4_000_000

_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_CENTRAL, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_FULL32 = 0xFFFFFFFF
_RESAVE = "ask for the original file, or save the model again with `torch.save`"


@dataclass(frozen=True)
class _Member:
    """Place of one stored member: first byte of its header, its data, its length and checksum."""

    header: int
    data: int
    size: int
    checksum: int


class Archive:
    """The members of one checkpoint file, by their name below the root folder.

    Args:
        path: file written by `torch.save`.

    Raises:
        CheckpointError: the file is not such an archive, is damaged, or was made to mislead a reader.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content = _read_file(path)
        entries, directory_begin = _central_directory(self._content, path)
        self._members = _strip_root(entries, path)
        self._refuse_overlaps(directory_begin)
        order = self.read("byteorder").strip() if "byteorder" in self._members else b"little"
        if order != b"little":
            fix = "save the model again on a little-endian machine"
            raise self.error("its byte order", "little", ascii(order[:20].decode("latin-1")), fix)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def error(self, what: str, expected: str, got: str, fix: str = _RESAVE) -> CheckpointError:
        """Return an error about this file, to be raised."""
        return CheckpointError(message(f"`{self.path.name}`: {what}", expected, got, fix))

    def size(self, name: str) -> int:
        """Return the length of a member in bytes."""
        return self._member(name).size

    def read(self, name: str) -> bytes:
        """Return the bytes of a member after verifying its checksum."""
        member = self._member(name)
        content = bytes(self._content[member.data : member.data + member.size])
        found = zlib.crc32(content)
        if found != member.checksum:
            raise self.error(f"member `{name}`", f"checksum {member.checksum:08x}", f"{found:08x}", "download it again")
        return content

    def _member(self, name: str) -> _Member:
        if name not in self._members:
            raise self.error("the archive", f"a member `{name}`", "none of that name")
        return self._members[name]

    def _refuse_overlaps(self, directory_begin: int) -> None:
        end = 0
        for name, member in sorted(self._members.items(), key=lambda item: item[1].header):
            if member.header < end:
                raise self.error(f"member `{name}`", "its own bytes", "bytes that overlap another member")
            end = member.data + member.size
            if end > directory_begin:
                raise self.error(f"member `{name}`", "data inside the file", "data beyond its end", "download it again")


def _read_file(path: Path) -> memoryview:
    if not path.is_file():
        raise CheckpointError(message(f"`{path}`", "a file", "nothing or a folder", "check the path"))
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        got = f"{size} bytes"
        raise CheckpointError(message(f"`{path.name}`", f"at most {MAX_FILE_BYTES} bytes", got, "check the path"))
    return memoryview(path.read_bytes())


def _central_directory(content: memoryview, path: Path) -> tuple[dict[str, _Member], int]:
    """Return the members by full name and where the directory begins."""
    try:
        count, begin, end = _find_directory(content, path)
        entries: dict[str, _Member] = {}
        position = begin
        for _ in range(count):
            name, member, position = _directory_entry(content, position, path)
            if name in entries:
                raise CheckpointError(message(f"`{path.name}`: member {name!r}", "one", "two of that name", _RESAVE))
            entries[name] = member
        if position > end:
            raise struct.error("the directory is longer than it says")
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        got = f"a truncated or damaged file ({error})"
        raise CheckpointError(message(f"`{path.name}`", "a complete zip archive", got, "download it again")) from error
    return entries, begin


def _find_directory(content: memoryview, path: Path) -> tuple[int, int, int]:
    """Return the number of members and the first and last byte of the central directory."""
    if bytes(content[:4]) != _LOCAL:
        fix = "pass a file written by `torch.save` of torch 1.6 or newer, or a flashmd `.safetensors` file"
        raise CheckpointError(message(f"`{path.name}`", "a torch zip archive", "another kind of file", fix))
    tail_begin = max(0, len(content) - 65_557)
    found = bytes(content[tail_begin:]).rfind(_END)
    if found < 0:
        raise struct.error("no end record")
    end = tail_begin + found
    count, size, begin = struct.unpack_from("<HII", content, end + 10)
    if end >= 20 and bytes(content[end - 20 : end - 16]) == _LOCATOR64:
        (end,) = struct.unpack_from("<Q", content, end - 12)
        if bytes(content[end : end + 4]) != _END64:
            raise struct.error("no 64-bit end record")
        count, size, begin = struct.unpack_from("<QQQ", content, end + 32)
    if begin + size > end or count > MAX_MEMBERS:
        raise struct.error(f"a directory of {count} members and {size} bytes at byte {begin}")
    return count, begin, begin + size


def _directory_entry(content: memoryview, position: int, path: Path) -> tuple[str, _Member, int]:
    """Parse one entry of the central directory and the local header it points to."""
    if bytes(content[position : position + 4]) != _CENTRAL:
        raise struct.error(f"no directory entry at byte {position}")
    flags, method, _, _, checksum, packed, size, n_name, n_extra, n_comment = struct.unpack_from(
        "<HHHHIIIHHH", content, position + 8
    )
    (header,) = struct.unpack_from("<I", content, position + 42)
    name_end = position + 46 + n_name
    raw = bytes(content[position + 46 : name_end])
    name = raw.decode("utf-8")
    size, packed, header = _wide_fields(content[name_end : name_end + n_extra], size, packed, header)
    if method != 0 or packed != size or flags & 1:
        got = f"a compressed or encrypted one (method {method}, {packed} bytes for {size})"
        what = f"`{path.name}`: member {name!r}"
        raise CheckpointError(message(what, "stored data, as torch writes it", got, _RESAVE))
    if bytes(content[header : header + 4]) != _LOCAL:
        raise struct.error(f"no member header at byte {header}")
    local_name, local_extra = struct.unpack_from("<HH", content, header + 26)
    if bytes(content[header + 30 : header + 30 + local_name]) != raw:
        raise struct.error(f"two different names for member {name!r}")
    data = header + 30 + local_name + local_extra
    return name, _Member(header, data, size, checksum), name_end + n_extra + n_comment


def _wide_fields(extra: memoryview, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """Replace saturated 32-bit fields by those of the zip64 record, in the order the format fixes."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        if kind == 1:
            wide = list(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            values = [wide.pop(0) if value == _FULL32 and wide else value for value in (size, packed, header)]
            return values[0], values[1], values[2]
        position += 4 + length
    return size, packed, header


def _strip_root(entries: dict[str, _Member], path: Path) -> dict[str, _Member]:
    """Return the members by their name below the one root folder all of them share."""
    members, roots = {}, set()
    for name, member in entries.items():
        parts = name.split("/")
        bad = len(parts) < 2 or "\\" in name or ":" in name or any(part in {"", ".", ".."} for part in parts)
        if bad or not name.isprintable():
            got = f"the path {name!r}"
            raise CheckpointError(message(f"`{path.name}`", "members below one folder", got, _RESAVE))
        roots.add(parts[0])
        members["/".join(parts[1:])] = member
    if len(roots) != 1:
        got = f"{len(roots)} folders"
        raise CheckpointError(message(f"`{path.name}`", "members below one folder", got, _RESAVE))
    return members
