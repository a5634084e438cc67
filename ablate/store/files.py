"""Atomic writes, and what a disk refuses in a sentence that says what to do."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from ablate.errors import StoreError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_CHUNK_BYTES = 1 << 20


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Like `write_bytes`, in UTF-8 with \\n at the end of a line."""
    write_bytes(path, text.encode(), durable=durable)


def write_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write the whole file or none of it: a temporary name beside it, flush, then rename over it.

    durable: also wait until the disk has it, so that a power cut loses nothing; not worth its time for
    progress. Raises StoreError where the disk is full, the folder cannot be written, or something else stands
    in the way.
    """
    temporary = temporary_beside(path)
    with explained("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        if durable:
            _sync_folder(path.parent)


def temporary_beside(path: Path) -> Path:
    """A name that nobody else uses, in the same folder, so that a rename stays within one file system."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def sha256_of(path: Path) -> str | None:
    """ "sha256:…" of the content; None where there is no such file."""
    digest = hashlib.sha256()
    try:
        with explained("read", path), path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    return f"sha256:{digest.hexdigest()}"


def sha256_of_bytes(content: bytes) -> str:
    """The same of a file's content that is at hand."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _sync_folder(folder: Path) -> None:
    """The rename itself reaches the disk with its folder. Some file systems, and Windows, cannot sync one."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def explained(verb: str, path: Path) -> Iterator[None]:
    """An OSError of what is done inside becomes a StoreError.

    But for a file that is read and is not there: that is no fault, and its reader knows what it means.
    """
    try:
        yield
    except OSError as error:
        if verb == "read" and isinstance(error, FileNotFoundError):
            raise
        raise StoreError(sentence(error, verb, path)) from error


def takes_no_more(error: BaseException) -> bool:
    """Whether the tree cannot be written at all: full, over quota, read-only. No trial is to blame for it."""
    return isinstance(error, OSError) and error.errno in {*_FULL, errno.EROFS}


def _how_full(error: OSError, path: Path) -> str:
    """Which file system it is, and what is left there."""
    at = path.absolute()
    while not (at.exists() and at.is_mount()) and at != at.parent:
        at = at.parent
    if error.errno == errno.EDQUOT:
        return f"your quota on the file system at {at} is full"
    try:
        usage = shutil.disk_usage(at)
    except OSError:
        return f"the disk is full (the file system at {at})"
    free, total = (f"{size / 1e6:,.1f} MB" for size in (usage.free, usage.total))
    left = f"{free} of {total} free"
    if hasattr(os, "statvfs") and not os.statvfs(at).f_favail and os.statvfs(at).f_files:
        left = f"{free} free, but no room for another file: its inodes are used up"
    return f"the disk is full (the file system at {at}: {left})"


def sentence(error: OSError, verb: str, path: Path) -> str:
    """What happened to `path`, and the way out."""
    if error.errno in _FULL:
        return (
            f"cannot {verb} {path}: {_how_full(error, path)}\n"
            "    free some space and run again: what is finished is kept, only what is missing is done"
        )
    if error.errno in _FORBIDDEN:
        return (
            f"cannot {verb} {path}: {os.strerror(error.errno or 0).lower()}\n"
            "    change the permissions, or choose another place with --output DIR"
        )
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return (
            f"cannot {verb} {path}: a file stands where a folder is needed\n"
            "    move it away, or choose another place with --output DIR"
        )
    return f"cannot {verb} {path}: {error.strerror or error}\n    choose another place with --output DIR"
