"""Arrays out of an npz file as our own trials write it, a quarter of NumPy's time.

A report of thousands of trials spends most of its time here. What is not plainly such a file is refused with
None, and left to NumPy, which also says what is wrong with it. Layout: PKWARE's APPNOTE.TXT 6.3, and NEP 1.
"""

from __future__ import annotations

import ast
import struct
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NPY_1 = b"\x93NUMPY\x01\x00"
_END = struct.Struct("<4s4H2LH")  # of the central directory; ours has no comment
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL_SIZE = 30
_STORED, _DEFLATED = 0, 8
# What a file that is not plainly ours has been seen to raise.
_FAULTS = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    SyntaxError,
    OverflowError,
    RecursionError,
    MemoryError,
    struct.error,
    zlib.error,
)


def plain_arrays(content: bytes, names: tuple[str, ...]) -> dict[str, NDArray[Any]] | None:
    """The named vectors of numbers, all of one length."""
    import numpy as np

    found: dict[str, NDArray[Any]] = {}
    try:
        members = _members(content)
        for name in names:
            member = _inflated(*members[f"{name}.npy"])
            start = 10 + int.from_bytes(member[8:10], "little")
            length, dtype = _header(member[10:start])
            if member[:8] != _NPY_1 or dtype is None or len(member) != start + length * dtype.itemsize:
                return None
            found[name] = np.frombuffer(member, dtype, length, start).copy()
    except _FAULTS:
        return None
    return found if len({len(array) for array in found.values()}) == 1 else None


def _members(content: bytes) -> dict[str, tuple[bytes, int, int, int]]:
    """By name: the bytes as they are packed, how, their length unpacked and their CRC-32.

    ValueError: an archive with anything in it that `numpy.savez` does not write for small arrays.
    """
    sign, disk, first, _, count, size, at, comment = _END.unpack(content[-_END.size :])
    whole = at + size + _END.size == len(content)
    if sign != b"PK\x05\x06" or disk or first or comment or not whole:
        raise ValueError("no plain end of an archive")
    found: dict[str, tuple[bytes, int, int, int]] = {}
    for _ in range(count):
        sign, _, _, flags, method, _, _, crc, packed, length, named, extra, noted, _, _, _, local = (
            _ENTRY.unpack_from(content, at)
        )
        name = content[at + _ENTRY.size : at + _ENTRY.size + named].decode("ascii")
        start = local + _LOCAL_SIZE + sum(struct.unpack_from("<2H", content, local + 26))
        data = content[start : start + packed]
        signs = sign == b"PK\x01\x02" and content[local : local + 4] == b"PK\x03\x04"
        if not signs or flags or len(data) != packed:
            raise ValueError(f"no plain member {name}")
        found[name] = (data, method, length, crc)
        at += _ENTRY.size + named + extra + noted
    return found


@lru_cache(maxsize=8)  # the trials of a study share their test images, and so labels and places
def _inflated(data: bytes, method: int, length: int, crc: int) -> bytes:
    if method not in (_STORED, _DEFLATED):
        raise ValueError(f"method {method}")
    inflated = data
    if method == _DEFLATED:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, length + 1)
    if len(inflated) != length or zlib.crc32(inflated) != crc:
        raise ValueError("damaged")
    return inflated


@lru_cache(maxsize=64)
def _header(text: bytes) -> tuple[int, np.dtype[Any] | None]:
    """Length and type of a plain vector of numbers; no type for anything else."""
    import numpy as np

    said = ast.literal_eval(text.decode("latin-1"))
    shape, dtype = said["shape"], np.dtype(said["descr"])
    plain = len(said) == 3 and not said["fortran_order"] and len(shape) == 1 and dtype.kind in "iuf"
    return (int(shape[0]), dtype) if plain else (0, None)
