"""Checked reads: what is not a whole file of ours, of this schema, is refused and named, never guessed at.

Nothing here can run code that lies in a file: JSON, CSV, and NumPy arrays without pickle.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from ablate.errors import StoreError
from ablate.record import SCHEMA_VERSION, Record
from ablate.store.archive import plain_arrays
from ablate.store.files import explained

if TYPE_CHECKING:
    from numpy.typing import NDArray

Checked = TypeVar("Checked", bound=Record)

WAY_OUT = (
    "nothing was overwritten; move the file away and run again: what it held is done anew; "
    "or put back an intact copy"
)
_WAY_OUT_OF_MANY = (
    "nothing was overwritten; move each of these files away and run again: what they held is done anew; "
    "or put back intact copies"
)
# What damage inside a zip archive or an array's header has been seen to raise.
_ARRAY_FAULTS = (
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,  # a method of compression that does not exist
    OverflowError,
    MemoryError,  # a shape that nothing can hold
    RuntimeError,  # "encrypted"
)


class Damaged(StoreError):
    """A file that cannot be taken as it is: torn, edited by hand, not ours, or of another schema.

    where: its path, with the line where one is known. fault: "is empty". way_out: what to do about it.
    """

    def __init__(self, path: Path, fault: str, way_out: str = WAY_OUT, *, line: int | None = None) -> None:
        self.path, self.fault, self.way_out = path, fault, way_out
        self.where = str(path) if line is None else f"{path}:{line}"
        super().__init__(f"{self.where} {fault}\n    {way_out}")


def together(damaged: Iterable[Damaged]) -> StoreError:
    """One error that names every file, those with the same way out together. `damaged` holds at least one."""
    found = list({each.where: each for each in damaged}.values())
    if len(found) == 1:
        return found[0]
    by_way_out: dict[str, list[Damaged]] = {}
    for each in found:
        by_way_out.setdefault(each.way_out, []).append(each)
    lines = [f"{len(found)} files of the results tree cannot be taken as they are:"]
    for way_out, members in by_way_out.items():
        lines += [f"  {each.where} {each.fault}" for each in members]
        many = way_out == WAY_OUT and len(members) > 1
        lines.append(f"    {_WAY_OUT_OF_MANY if many else way_out}")
    return StoreError("\n".join(lines))


def read_record(path: Path, kind: type[Checked]) -> Checked | None:
    """None where there is no such file. Raises StoreError for one that is torn, edited, of another schema."""
    content = read_bytes(path)
    if content is None:
        return None
    try:
        record = kind.model_validate_json(content)
    except ValidationError as error:
        _refuse_schema(path, _schema_version(content))
        raise Damaged(path, _fault(error, content)) from error
    _refuse_schema(path, getattr(record, "schema_version", SCHEMA_VERSION))
    return record


def read_bytes(path: Path) -> bytes | None:
    """None where there is no such file."""
    try:
        with explained("read", path):
            return path.read_bytes()
    except FileNotFoundError:
        return None


def _schema_version(content: bytes) -> Any:
    """What the file says of its schema, whatever else is wrong with it."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return SCHEMA_VERSION
    return document.get("schema_version", SCHEMA_VERSION) if isinstance(document, dict) else SCHEMA_VERSION


def _refuse_schema(path: Path, version: Any) -> None:
    if version == SCHEMA_VERSION:
        return
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise Damaged(
            path,
            f"was written by a newer ablate (schema {version}, this one reads {SCHEMA_VERSION})",
            "upgrade with `pip install --upgrade ablate-bench`, or choose another place with --output DIR",
        )
    raise Damaged(
        path,
        f"has schema {version!r}, which this ablate (schema {SCHEMA_VERSION}) does not read",
        "read it with the ablate that wrote it, or choose another place with --output DIR",
    )


def _fault(error: ValidationError, content: bytes) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        state = (
            "is empty"
            if not content.strip()
            else "is torn or was edited by hand: it is no whole JSON document"
        )
        return f"{state} ({first['msg'].removeprefix('Invalid JSON: ')})" if content.strip() else state
    where = ".".join(str(part) for part in first["loc"]) or "the document"
    return f"was edited by hand or is not ours: {where}: {first['msg'].lower()}"


def read_csv(path: Path, content: bytes) -> list[dict[str, float | None]]:
    """Rows of numbers, an empty cell as None. path: for what is said of faults."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise Damaged(path, "is no text") from error
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error as error:
        raise Damaged(path, f"is torn or was edited by hand ({error})") from error
    names = rows[0] if rows else []
    numbers: list[dict[str, float | None]] = []
    for line, row in enumerate(rows[1:], start=2):
        try:
            if len(row) != len(names) or "" in names:
                raise ValueError(f"{len(row)} cells under {len(names)} names")
            figures = map(float, row) if all(row) else (float(cell) if cell else None for cell in row)
            numbers.append(dict(zip(names, figures, strict=True)))
        except ValueError as error:
            raise Damaged(path, f"is torn or was edited by hand ({error})", line=line) from error
    return numbers


def read_arrays(path: Path, content: bytes, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The named arrays of an npz file, all of one shape; a pickle inside is refused, not loaded."""
    import numpy as np

    found = plain_arrays(content, names)
    if found is not None:
        return found
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in names}
    except (*_ARRAY_FAULTS, AttributeError) as error:  # a lone array is no archive to enter and leave
        raise Damaged(path, f"is torn or was edited by hand ({error})") from error
    lengths = {name: array.shape for name, array in found.items()}
    if len(set(lengths.values())) != 1:
        raise Damaged(path, f"is torn or was edited by hand: shapes differ ({lengths})")
    return found


def entries(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    """Sorted names of the sub-folders that fit the pattern; none where there is no such folder."""
    try:
        with explained("read", folder), os.scandir(folder) as found:
            return sorted(entry.name for entry in found if pattern.fullmatch(entry.name) and entry.is_dir())
    except FileNotFoundError:
        return []
