"""The best of a search as a study of its own, judged on seeds that took no part in the choice."""

from __future__ import annotations


def promote() -> None: ...
