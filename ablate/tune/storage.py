"""Where a search is kept, and who may change what in it: Optuna's storages, a lock over them, their owners.

A trial of Optuna that is RUNNING names its owner. The kernel of this machine says whether a process of it
lives; one on another machine gives a sign every `BEAT_S`, and is given up when it was watched standing still
for `STALE_S`. Whoever begins or takes over a trial holds the lock, so that the number of trials that was
asked for is met exactly and none is trained for nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import threading
import time
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.exc

from ablate.errors import MachineError, StoreError
from ablate.store import Lock, takes_no_more
from ablate.store.locks import Watch, look, remove, take
from ablate.store.processes import host_name, start_of, this_machine

# Of a database that is away, full or broken; a journal raises OSError.
STORAGE_ERRORS = (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError)
BEAT_S, STALE_S = 15.0, 120.0
_POLL_S = 0.1
_JOURNAL = "journal:"
_owners_here: set[str] = set()
_numbers = itertools.count()


@dataclass(frozen=True)
class Owner:
    """A process that searches. start, machine: see `ablate.store.processes`."""

    host: str
    pid: int
    start: str
    machine: str
    token: str

    @classmethod
    def of_this_process(cls) -> Owner:
        token = f"{secrets.token_hex(6)}-{next(_numbers)}"
        _owners_here.add(token)
        return cls(host_name(), os.getpid(), start_of(os.getpid()) or "?", this_machine(), token)

    def retire(self) -> None:
        """This search is over, though its process may live on."""
        _owners_here.discard(self.token)

    def __str__(self) -> str:
        return f"{self.host}, process {self.pid}"

    @property
    def machine_is_ours(self) -> bool:
        return (self.host, self.machine) == (host_name(), this_machine())

    @property
    def dead(self) -> bool:
        """Known to be gone; of a process on another machine nothing is known."""
        if not self.machine_is_ours:
            return False
        if self.pid == os.getpid():
            return self.token not in _owners_here
        start = start_of(self.pid)
        return start is None or (start != "?" and start != self.start)

    def as_attribute(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, said: Any) -> Owner | None:
        try:
            return cls(
                host=str(said["host"]),
                pid=int(said["pid"]),
                start=str(said["start"]),
                machine=str(said["machine"]),
                token=str(said["token"]),
            )
        except (TypeError, KeyError, ValueError):
            return None


@dataclass
class Signs:
    """Signs of life of searchers on other machines, watched by this process's own clock."""

    _seen: dict[str, tuple[Any, float]] = field(default_factory=dict)

    def silent(self, owner: Owner, sign: Any) -> bool:
        now = time.monotonic()
        before, since = self._seen.get(owner.token, (None, now))
        if owner.token not in self._seen or before != sign:
            self._seen[owner.token] = (sign, now)
            return False
        return now - since >= STALE_S


@dataclass(frozen=True)
class Place:
    """`sqlite:///…`, `journal:PATH`, or any other URL of SQLAlchemy's. Picklable: workers open it, too."""

    url: str

    @property
    def file(self) -> Path | None:
        """Of a storage that is one file."""
        if self.url.startswith(_JOURNAL):
            return Path(self.url.removeprefix(_JOURNAL))
        found = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", self.url)
        return Path(found[1]) if found else None

    @property
    def shown(self) -> str:
        """Without the password."""
        return re.sub(r"(://[^:/@]+):[^@]*@", r"\1:…@", self.url)

    def open(self) -> optuna.storages.BaseStorage:
        """Raises StoreError for one that cannot be had, with the way out."""
        quiet()
        file = self.file
        try:
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
            if self.url.startswith(_JOURNAL):
                from optuna.storages.journal import JournalFileBackend, JournalStorage

                return JournalStorage(JournalFileBackend(str(file)))
            # Optuna's own wait is 5 s; several processes on a slow disk need more.
            engine = {"connect_args": {"timeout": 60}} if file is not None else {}
            # Two that find no tables at once would both make them, and one would fail.
            with self._alone(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rdb = optuna.storages.RDBStorage(self.url, engine_kwargs=engine)
            return optuna.storages.get_storage(rdb)
        except ImportError as error:
            raise MachineError(
                f"--storage {self.shown} needs a driver that is not installed: {error}\n"
                "    for PostgreSQL: pip install 'ablate-bench[postgres]'"
            ) from error
        except Exception as error:  # SQLAlchemy's, the driver's and Optuna's own
            raise StoreError(
                f"the search cannot be kept in {self.shown}: {_first_line(error)}\n"
                "    --storage takes sqlite:///FILE, journal:FILE, or postgresql://USER@HOST/DATABASE"
            ) from error

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """What the storage meets while the search runs, as a StoreError."""
        try:
            yield
        except STORAGE_ERRORS as error:
            raise StoreError(f"the search's storage {self.shown} gave way: {_first_line(error)}") from error
        except OSError as error:
            if not takes_no_more(error):
                raise
            raise StoreError(f"the search's storage {self.shown} takes no more: {error}") from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if self.file is not None:
            with _file_lock(self.file.with_name(f"{self.file.name}.tune-lock")):
                yield
            return
        engine = sqlalchemy.create_engine(self.url)
        try:
            with _database_lock(engine):
                yield
        finally:
            engine.dispose()

    @contextlib.contextmanager
    def locked(self, storage: optuna.storages.BaseStorage) -> Iterator[None]:
        """No other search on this storage begins or takes over a trial meanwhile; the dead do not block."""
        file = self.file
        if file is not None:
            with _file_lock(file.with_name(f"{file.name}.tune-lock")):
                yield
            return
        engine = getattr(getattr(storage, "_backend", storage), "engine", None)
        if engine is None:
            yield
            return
        with _database_lock(engine):
            yield


@contextlib.contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    watch = Watch()
    while True:
        taken = take(path)
        if isinstance(taken, Lock):
            break
        seen = look(path)
        if seen is not None and watch.stands_still(path, seen):
            remove(path, seen, watch)
        time.sleep(_POLL_S)
    with taken:
        yield


@contextlib.contextmanager
def _database_lock(engine: Any) -> Iterator[None]:
    """Held by a connection, and so given back when its process dies."""
    key = zlib.crc32(b"ablate tune")
    ways = {
        "postgresql": ("SELECT pg_advisory_lock(:key)", "SELECT pg_advisory_unlock(:key)", key),
        "mysql": ("SELECT GET_LOCK(:key, 600)", "SELECT RELEASE_LOCK(:key)", "ablate tune"),
    }
    if engine.dialect.name not in ways:
        yield
        return
    get, give, name = ways[engine.dialect.name]
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(get), {"key": name})
        try:
            yield
        finally:
            connection.execute(sqlalchemy.text(give), {"key": name})


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


class Beat:
    """Writes a sign of life of this search beside its trials until it ends."""

    def __init__(self, study: optuna.Study, owner: Owner) -> None:
        self._study, self._owner = study, owner
        self._ended = threading.Event()
        self._count = 0
        self._thread = threading.Thread(target=self._run, name="ablate-tune-beat", daemon=True)

    def __enter__(self) -> Beat:
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._owner.retire()

    def _run(self) -> None:
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(Exception):  # a server that is away for a while; the search will meet it
                self._write()

    def _write(self) -> None:
        self._count += 1
        self._study.set_user_attr(f"alive {self._owner.token}", self._count)


def quiet() -> None:
    """Optuna's own messages and its notes on what may change some day are not for the user of a study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
