"""Files to and from a node of a Ray cluster that does not see those of the run, a piece at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

PIECE_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Parcel:
    """A file that an item needs. name: under which the node knows whether it has it. sha256: "sha256:…"."""

    source: Path
    name: str
    sha256: str


@dataclass(frozen=True)
class AtOnce:
    """An item that needs no node: this is its value."""

    value: Any


# (scratch, ((name, sha256), …)) -> (position, where to write it) of each parcel that is not there.
Lacking = Callable[[tuple[str, tuple[tuple[str, str], ...]]], list[tuple[int, str]]]


class Trip(Protocol):
    """One item's way to such a node and back.

    lacking: picklable; called in the node's worker. leaves: the folder there that comes back, relative to the
    seat's scratch folder. news: names in it of which a copy comes every few seconds while the item runs.
    """

    @property
    def parcels(self) -> Sequence[Parcel]: ...

    @property
    def lacking(self) -> Lacking: ...

    @property
    def leaves(self) -> str: ...

    @property
    def news(self) -> Sequence[str]: ...

    def item(self, scratch: str) -> Any:
        """As the run's function takes it there."""
        ...

    def receive(self, name: str, pieces: Iterable[bytes]) -> None:
        """A file that came back, whole or not at all. name: relative to `leaves`."""
        ...

    def arrived(self, value: Any) -> Any:
        """All files are here: what the value becomes. The proof that the item is done is written in this."""
        ...

    def end(self) -> None:
        """It is over, one way or another."""
        ...


class Carry(Protocol):
    """What the run knows of its items' files."""

    def depart(self, item: Any) -> Trip | AtOnce: ...


class Node(Protocol):
    """The methods of `Seat`, each waiting for its answer."""

    def write(self, target: str, offset: int, content: bytes, last: bool) -> None: ...

    def listing(self, folder: str) -> list[tuple[str, int]]: ...

    def read(self, name: str, offset: int, count: int) -> bytes: ...


def send(node: Node, source: Path, target: str) -> None:
    with source.open("rb") as file:
        offset, piece = 0, file.read(PIECE_BYTES)
        while True:
            following = file.read(PIECE_BYTES)
            node.write(target, offset, piece, not following)
            if not following:
                return
            offset, piece = offset + len(piece), following


def fetch_all(node: Node, trip: Trip, scratch: str) -> None:
    """All that the item left."""
    folder = f"{scratch}/{trip.leaves}"
    for name, size in node.listing(folder):
        trip.receive(name, _pieces(node, f"{folder}/{name}", size))


def fetch_news(node: Node, trip: Trip, scratch: str) -> None:
    for name in trip.news:
        content = node.read(f"{scratch}/{trip.leaves}/{name}", 0, PIECE_BYTES)
        if content:
            trip.receive(name, [content])


def _pieces(node: Node, name: str, size: int) -> Iterator[bytes]:
    """size: in bytes, as it was seen; of a file that grows meanwhile so much comes."""
    offset = 0
    while offset < size:
        piece = node.read(name, offset, min(PIECE_BYTES, size - offset))
        if not piece:
            return
        yield piece
        offset += len(piece)
