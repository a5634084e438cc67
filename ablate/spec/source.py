"""YAML text -> plain data and the line of every key.

Scalars follow YAML 1.2: `1e-3` is a number, only `true` and `false` are booleans (`on`, `no` are text), `010`
is ten, and there are no dates. What would be read in silence and regretted is an error: a key given twice, a
key that is no text, infinity, numbers beyond 64 bits, aliases that multiply.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ablate.errors import Problem, Problems, StudyError

Place = tuple[str | int, ...]
"""Keys and list positions from the top of the file to a value."""

COMMAND_LINE = "command line"
MAX_BYTES = 1_000_000
MAX_NODES = 100_000  # after aliases are expanded

_TAG = "tag:yaml.org,2002:"
# Tag, pattern, possible first characters: YAML 1.2's core schema, and merge keys.
_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
)


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    table: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for tag, pattern, first_characters in _SCALARS:
        for character in first_characters:
            key = "" if character == "\0" else character
            table.setdefault(key, []).append((_TAG + tag, re.compile(rf"(?:{pattern})\Z")))
    return table


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _resolvers()


class _Dumper(yaml.SafeDumper):
    """Writes with the same scalars, so that the text "1e-3" is quoted and stays text; no aliases."""

    yaml_implicit_resolvers = _resolvers()

    def ignore_aliases(self, data: Any) -> bool:
        return True


@dataclass(frozen=True)
class Document:
    """A study file as plain data, with the place in the text of every key and list item.

    problems: faults of the text that leave the rest readable, such as a key given twice. stand_ins: lines on
    which a value could not be read and another stands in its place, so that what is said of it there is void.
    """

    path: str
    data: dict[str, Any]
    places: Mapping[Place, str]
    problems: tuple[Problem, ...] = ()
    stand_ins: frozenset[str] = frozenset()

    def where(self, *place: str | int) -> str:
        """``"studies/msa.yaml:12"`` for the nearest enclosing key that has a line."""
        for length in range(len(place), -1, -1):
            found = self.places.get(place[:length])
            if found is not None:
                return found
        return self.path


def read_document(path: str | Path) -> Document:
    """The study file at `path`; raises StudyError for a file that cannot be read as YAML at all."""
    name = str(path)
    text = _decode(_read_bytes(Path(path), name), name)
    builder = _Builder(name)
    with _yaml_errors(name, text):
        node = yaml.compose(text, Loader=_Loader)
        data = None if node is None else builder.build(node, ())
    if node is None:
        raise _fault("the file is empty", name, hint="`ablate init` writes a study to start from")
    if not isinstance(data, dict):
        builder.problems.raise_if_any()
        raise _fault(f"a study is a mapping (key: value), but the file holds {_kind(data)}", f"{name}:1")
    return Document(name, data, builder.places, tuple(builder.problems.found), frozenset(builder.stand_ins))


def parse_value(text: str) -> Any:
    """The value of a KEY=VALUE override, by the same rules as in the file; raises StudyError."""
    builder = _Builder(None)
    with _yaml_errors(None, text):
        node = yaml.compose(text, Loader=_Loader)
        value = None if node is None else builder.build(node, ())
    builder.problems.raise_if_any()
    return value


def to_yaml(data: Any) -> str:
    """Plain data as YAML that `read_document` reads back unchanged."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def dotted(place: Place) -> str:
    """``"claims[0].of"``"""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join(parts).removeprefix(".")


def _fault(message: str, where: str, *, hint: str = "", allowed: tuple[str, ...] = ()) -> StudyError:
    return StudyError([Problem(message, where, allowed=allowed, hint=hint)])


def _kind(data: Any) -> str:
    return "a list" if isinstance(data, list) else "a single value"


def _read_bytes(path: Path, name: str) -> bytes:
    try:
        if path.is_dir():
            inside = sorted(str(found) for found in path.glob("*.yaml"))[:10]
            raise _fault("is a directory, not a study file", name, allowed=tuple(inside))
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _fault("there is no such file", name, hint=_nearest_file(path)) from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise _fault(f"cannot be read: {reason}", name) from None
    if len(content) > MAX_BYTES:
        raise _fault(f"is larger than {MAX_BYTES:,} bytes; no study file is", name)
    return content


def _nearest_file(path: Path) -> str:
    candidates = [*path.parent.glob("*.yaml"), *path.parent.glob("*.yml"), *Path("studies").glob("*.yaml")]
    by_stem = {candidate.stem: str(candidate) for candidate in candidates}
    nearest = difflib.get_close_matches(path.stem, by_stem, n=1)
    if nearest:
        return f"did you mean {by_stem[nearest[0]]!r}?"
    return f"there is: {', '.join(sorted(by_stem.values())[:10])}" if by_stem else ""


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise _fault(
            f"is not UTF-8: byte 0x{byte:02x} at offset {error.start}",
            f"{name}:{line}",
            hint="save the file as UTF-8",
        ) from None


@contextmanager
def _yaml_errors(name: str | None, text: str) -> Iterator[None]:
    """Turns PyYAML's errors into a StudyError with the line."""
    try:
        yield
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = ord(error.character) if isinstance(error.character, str) else error.character
        raise _fault(f"the character U+{code:04X} is not allowed in YAML", _at(name, line)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message, hint = _syntax(error)
        raise _fault(message, _at(name, mark.line + 1 if mark else 1), hint=hint) from None
    except RecursionError:
        raise _fault("is nested too deeply", name or COMMAND_LINE) from None


def _at(name: str | None, line: int) -> str:
    return COMMAND_LINE if name is None else f"{name}:{line}"


def _syntax(error: yaml.MarkedYAMLError) -> tuple[str, str]:
    problem = error.problem or "syntax error"
    if "'\\t'" in problem:
        return "a tab stands where only spaces are allowed", "indent with spaces"
    if "another document" in problem:
        return "the file holds more than one YAML document", "keep one study a file; remove the second '---'"
    begun = error.context_mark
    context = f" ({error.context}, line {begun.line + 1})" if error.context and begun else ""
    hints = {
        "mapping values are not allowed here": "a text that contains ': ' must stand in quotes",
        "could not find expected ':'": "a key needs a colon and a space after it",
    }
    return f"is not valid YAML: {problem}{context}", hints.get(problem, "")


class _Builder:
    """Walks PyYAML's nodes; collects data, places and faults. `name` is None for a command-line value."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.problems = Problems()
        self.places: dict[Place, str] = {}
        self.stand_ins: set[str] = set()
        self._count = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node, place: Place) -> Any:
        self.places.setdefault(place, self._where(node))
        self._count += 1
        if self._count > MAX_NODES:
            raise _fault(
                f"expands to more than {MAX_NODES:,} values; are aliases multiplying?", self._where(node)
            )
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        if id(node) in self._open:
            raise _fault("an alias contains itself", self._where(node))
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            self._add(node, place, f"the tag {node.tag!r} is not supported")
        self._open.add(id(node))
        try:
            return (
                self._mapping(node, place) if isinstance(node, yaml.MappingNode) else self._list(node, place)
            )
        finally:
            self._open.discard(id(node))

    def _where(self, node: yaml.Node) -> str:
        return _at(self.name, node.start_mark.line + 1)

    def _add(self, node: yaml.Node, place: Place, message: str, hint: str = "") -> None:
        self.problems.add(message, where=self._where(node), field=dotted(place), hint=hint)

    def _unreadable(self, node: yaml.Node, place: Place, message: str) -> None:
        self._add(node, place, message)
        self.stand_ins.add(self._where(node))

    def _list(self, node: yaml.Node, place: Place) -> list[Any]:
        return [self.build(item, (*place, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, (key_node, value_node) in self._pairs(node, place).items():
            self.places[*place, key] = self._where(key_node)
            result[key] = self.build(value_node, (*place, key))
        return result

    def _pairs(self, node: yaml.MappingNode, place: Place) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """The mapping's own pairs, then those merged by `<<` that it does not have."""
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            key = self._key(key_node, place)
            if key is None:
                continue
            if key in pairs:
                first = pairs[key][0].start_mark.line + 1
                second = key_node.start_mark.line + 1
                lines = (
                    f"on line {first} and on line {second}" if first != second else f"twice on line {first}"
                )
                self._add(key_node, (*place, key), f"the key {key!r} is given {lines}", "keep one of the two")
            pairs.setdefault(key, (key_node, value_node))
        for source in merged:
            if not isinstance(source, yaml.MappingNode):
                self._add(source, place, "a merge key '<<' takes a mapping")
                continue
            self._count += 1
            if id(source) in self._open or self._count > MAX_NODES:
                raise _fault("a merge key '<<' contains itself", self._where(source))
            self._open.add(id(source))
            for key, pair in self._pairs(source, place).items():
                pairs.setdefault(key, pair)
            self._open.discard(id(source))
        return pairs

    def _key(self, node: yaml.Node, place: Place) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "str":
            return str(node.value)
        if isinstance(node, yaml.ScalarNode):
            shown = node.value if len(node.value) <= 40 else node.value[:39] + "…"
            hint = f"write it in quotes: '{shown}'" if shown else "give the key a name"
            self._add(node, place, f"the key {shown or 'null'} is not text", hint)
        else:
            self._add(node, place, "a list or mapping cannot be a key")
        return None

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        tag, text = node.tag.removeprefix(_TAG), str(node.value)
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        if tag == "int":
            return self._int(node, text, place)
        if tag == "float":
            return self._float(node, text, place)
        if tag not in ("str", "merge"):  # a lone '<<' outside a key is text
            self._add(node, place, f"the tag {node.tag!r} is not supported")
        return text

    def _int(self, node: yaml.Node, text: str, place: Place) -> int:
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        try:
            # Python refuses to parse thousands of digits, and an explicit `!!int` may hold any text.
            value = int(text[2:] if base != 10 else text, base) if len(text) <= 100 else 2**63
        except ValueError:
            self._unreadable(node, place, f"{text!r} is not a whole number")
            return 0
        if not -(2**63) <= value < 2**63:
            shown = text if len(text) <= 40 else f"{text[:20]}… ({len(text)} digits)"
            self._unreadable(
                node, place, f"the number {shown} is too large: whole numbers end at {2**63 - 1}"
            )
            return 0
        return value

    def _float(self, node: yaml.Node, text: str, place: Place) -> float:
        try:
            value = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            self._unreadable(node, place, f"{text!r} is not a number")
            return 0.0
        if value != value or value in (float("inf"), float("-inf")):
            shown = text if len(text) <= 40 else text[:39] + "…"
            self._unreadable(node, place, f"{shown} is not a finite number")
            return 0.0
        return value
