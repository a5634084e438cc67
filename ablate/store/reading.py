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
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from ablate.errors import StoreError
from ablate.record import SCHEMA_VERSION, Record
from ablate.store.files import explained

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Checked = TypeVar("Checked", bound=Record)

WAY_OUT = "    nothing was overwritten; move the file away and run again: what it held is done anew"
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


def read_record(path: Path, kind: type[Checked]) -> Checked | None:
    """None where there is no such file. Raises StoreError for one that is torn, edited, of another schema."""
    content = read_bytes(path)
    if content is None:
        return None
    try:
        record = kind.model_validate_json(content)
    except ValidationError as error:
        _refuse_schema(path, _schema_version(content))
        raise StoreError(f"{path} {_fault(error, content)}\n{WAY_OUT}") from error
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
        raise StoreError(
            f"{path} was written by a newer ablate (schema {version}, this one reads {SCHEMA_VERSION})\n"
            "    upgrade with `pip install --upgrade ablate-bench`, or choose another place with --output DIR"
        )
    raise StoreError(
        f"{path} has schema {version!r}, which this ablate (schema {SCHEMA_VERSION}) does not read\n"
        "    read it with the ablate that wrote it, or choose another place with --output DIR"
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
        raise StoreError(f"{path} is no text\n{WAY_OUT}") from error
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), restkey="", restval=None))
    except csv.Error as error:
        raise StoreError(f"{path} is torn or was edited by hand ({error})\n{WAY_OUT}") from error
    numbers: list[dict[str, float | None]] = []
    for line, row in enumerate(rows, start=2):
        try:
            if "" in row or None in row.values():
                raise ValueError(f"{len(row)} cells")
            numbers.append({key: float(cell) if cell else None for key, cell in row.items()})
        except (TypeError, ValueError) as error:
            raise StoreError(f"{path}:{line} is torn or was edited by hand ({error})\n{WAY_OUT}") from error
    return numbers


def read_arrays(path: Path, content: bytes, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The named arrays of an npz file, all of one shape; a pickle inside is refused, not loaded."""
    import numpy as np

    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found: dict[str, np.ndarray[Any, Any]] = {name: arrays[name] for name in names}
    except (*_ARRAY_FAULTS, AttributeError) as error:  # a lone array is no archive to enter and leave
        raise StoreError(f"{path} is torn or was edited by hand ({error})\n{WAY_OUT}") from error
    lengths = {name: array.shape for name, array in found.items()}
    if len(set(lengths.values())) != 1:
        raise StoreError(f"{path} is torn or was edited by hand: shapes differ ({lengths})\n{WAY_OUT}")
    return found


def entries(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    """Sorted names of the sub-folders that fit the pattern; none where there is no such folder."""
    try:
        with explained("read", folder), os.scandir(folder) as found:
            return sorted(entry.name for entry in found if pattern.fullmatch(entry.name) and entry.is_dir())
    except FileNotFoundError:
        return []
