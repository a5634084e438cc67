"""What keeps a look from being taken."""

from __future__ import annotations

from ablate.errors import AblateError


class LookError(AblateError):
    """Something that was asked to be looked at is not there."""
