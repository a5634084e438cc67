"""What may be a name: of a study, a variant, a factor, a module path, and of things imported by path."""

from __future__ import annotations

import pkgutil
import re
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from ablate.spec.words import must_be, refuse, show

MAX_NAME = 80
# Folders of the results tree that hold no study.
RESERVED = ("trials", "costs", "published")

_STUDY = re.compile(r"[a-z0-9][a-z0-9-]*")
_VARIANT = re.compile(r"[\w+.= -]+")
_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_LIBRARY = re.compile(r"(torchvision|timm):[\w.+-]+")
_PATH_PART = r"(?:[\w*?-]|\[[^\[\]]+\])+"
_GLOB = re.compile(rf"{_PATH_PART}(?:\.{_PATH_PART})*")

VARIANT_RULE = "letters, digits, '+', '-', '_', '.', '=' and spaces, at most 80 characters"
PART_RULE = "letters, digits, '-', '_', '.' and spaces, at most 80 characters"


def study_name(value: str) -> str:
    if not _STUDY.fullmatch(value) or len(value) > MAX_NAME:
        wanted = f"lower-case letters, digits and '-' (it becomes a folder), at most {MAX_NAME} characters"
        raise must_be(wanted, value, hint=_suggest(value))
    if value in RESERVED:
        raise refuse(f"{value!r} is a folder of the results tree itself", hint=f"try '{value}-study'")
    return value


def _suggest(value: str) -> str:
    suggestion = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")[:MAX_NAME]
    return f"try {suggestion!r}" if suggestion and suggestion not in RESERVED else ""


def variant_name_fault(value: str) -> str:
    """What is wrong with the name of a variant; empty when nothing is."""
    if len(value) > MAX_NAME:
        return f"is {len(value)} characters long"
    if value != value.strip():
        return "begins or ends with a space"
    if ".." in value:
        return "contains '..'"
    wrong = sorted({character for character in value if not _VARIANT.fullmatch(character)})
    if wrong:
        return f"contains {', '.join(repr(character) for character in wrong)}"
    if not any(character.isalnum() for character in value):
        return "has no letter or digit"
    return ""


def part_fault(value: str) -> str:
    """What is wrong with a factor, an axis or a label: part of a name, in which '+' and '=' join parts."""
    fault = variant_name_fault(value)
    if not fault and any(character in "+=" for character in value):
        return "contains '+' or '=', which join names"
    return fault


def part_name(value: str) -> str:
    fault = part_fault(value)
    if fault:
        raise refuse(f"{show(value)} {fault}", allowed=(PART_RULE,))
    return value


def label_of(value: Any) -> str | None:
    """The label of a swept value, as it stands in a variant's name; None when it needs one from the user."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value).replace("e+", "e")
    if isinstance(value, str):
        return None if variant_name_fault(value) else value
    if isinstance(value, list | tuple) and value:
        parts = [label_of(item) for item in value]
        joined = "+".join(part for part in parts if part is not None)
        return joined if None not in parts and not variant_name_fault(joined) else None
    return None


def glob_fault(value: str) -> str:
    """What is wrong with a module path or glob; empty when nothing is."""
    if not value:
        return "is empty"
    if value.count("[") != value.count("]"):
        return "has an unclosed '['"
    if not _GLOB.fullmatch(value):
        return "is no module path or glob"
    return ""


def glob_regex(pattern: str) -> re.Pattern[str]:
    """The regular expression of a module path or glob; a bracket that is never closed stands for itself."""
    regex, rest = "", pattern
    while rest:
        if rest.startswith("**."):
            regex, rest = regex + r"(?:.*\.)?", rest[3:]  # '**.relu' includes a 'relu' at the top
        elif rest.startswith("**"):
            regex, rest = regex + ".*", rest[2:]
        elif rest[0] in "*?":
            regex, rest = regex + (r"[^.]*" if rest[0] == "*" else r"[^.]"), rest[1:]
        elif brackets := re.match(r"\[(!?)([^]]+)]", rest):
            negated, members = brackets.groups()
            members = re.sub(r"([\\\[^&~|])", r"\\\1", members)
            regex, rest = regex + (f"[^.{members}]" if negated else f"[{members}]"), rest[brackets.end() :]
        else:
            regex, rest = regex + re.escape(rest[0]), rest[1:]
    try:
        return re.compile(regex)
    except re.error:  # a set such as [3-1]
        return re.compile(re.escape(pattern))


def pretraining_of(weights: Any) -> str | None:
    """NAME of ``model.weights: pretraining:NAME``; None for weights that come from elsewhere."""
    prefix = "pretraining:"
    return weights.removeprefix(prefix) if isinstance(weights, str) and weights.startswith(prefix) else None


def is_import_path(name: str) -> bool:
    """``package.module:name`` of the user's own."""
    return _IMPORT_PATH.fullmatch(name) is not None and not is_library_name(name)


def is_library_name(name: str, libraries: Sequence[str] = ("torchvision", "timm")) -> bool:
    """``torchvision:NAME`` or ``timm:NAME``."""
    return _LIBRARY.fullmatch(name) is not None and name.split(":")[0] in libraries


def module_file(name: str) -> Path | None:
    """A module's source file, found as an import would find it, but without running it or its parents."""
    top, *rest = name.split(".")
    spec = next((found for finder in sys.meta_path if (found := finder.find_spec(top, None))), None)
    for depth in range(1, len(rest) + 1):
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = _submodule(".".join((top, *rest[:depth])), spec.submodule_search_locations)
    found_file = Path(spec.origin) if spec is not None and spec.origin is not None else None
    return found_file if found_file is not None and found_file.is_file() else None


def _submodule(name: str, folders: Iterable[str]) -> ModuleSpec | None:
    """As `importlib.util.find_spec`, which would import the parent first."""
    portions: list[str] = []  # of a package without __init__
    for folder in folders:
        finder = pkgutil.get_importer(folder)
        spec = finder.find_spec(name) if finder is not None else None
        if spec is not None and spec.loader is not None:
            return spec
        portions += (spec.submodule_search_locations or []) if spec is not None else []
    if not portions:
        return None
    package = ModuleSpec(name, None, is_package=True)
    package.submodule_search_locations = portions
    return package


StudyName = Annotated[
    str,
    AfterValidator(study_name),
    WithJsonSchema({"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,79}$"}),
]
PartName = Annotated[str, AfterValidator(part_name)]
