"""Looking at finished trials: feature maps, gates, branches, self-attention and class activation, the same
test images for every variant and seed.

Rows first (`look_at`), then figures, JSON and a page drawn from the rows (`write_look`). The names are loaded
when they are used: a page that is there already is served without torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "LookError": "ablate.look.errors",
    "Wishes": "ablate.look.build",
    "look_at": "ablate.look.build",
    "serve": "ablate.look.serve",
    "write_look": "ablate.look.write",
}

__all__ = ["LookError", "Wishes", "look_at", "serve", "write_look"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
