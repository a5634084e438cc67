"""Settings as flat parameters: dotted names, and values that every tracker takes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

Parameter = bool | int | float | str
_NAME = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)


def flat(settings: Mapping[str, Any]) -> dict[str, Parameter]:
    """``{"model": {"args": {"width": 0.5}}}`` -> ``{"model.args.width": 0.5}``.

    Lists, and mappings whose keys are no names (globs of module paths), stay whole, as JSON: as parts of a
    dotted name they would be refused. Nothing is "null", and an empty mapping "{}".
    """
    found: dict[str, Parameter] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value and all(_NAME.fullmatch(str(key)) for key in value):
            found |= {f"{name}.{inner}": leaf for inner, leaf in flat(value).items()}
        elif isinstance(value, bool | int | float | str):
            found[name] = value
        else:
            found[name] = json.dumps(value, ensure_ascii=False)
    return found


def word(value: Parameter) -> str:
    """As it stands in a study file."""
    return str(value).lower() if isinstance(value, bool) else str(value)
