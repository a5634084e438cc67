"""One random stream per role of a trial (initialisation, order, augmentation, dropout, split).

A single global seed breaks the pairing of variants: attaching a module would shift every later draw.
Streams that are derived by hashing do not touch one another.
"""

from __future__ import annotations

import hashlib
from typing import Literal

Role = Literal["backbone", "attention", "order", "augment", "dropout", "split"]


def derive_seed(seed: int, role: Role) -> int:
    """A 63-bit seed for one role of one trial: first eight bytes of SHA-256("seed/role"), without sign."""
    digest = hashlib.sha256(f"{seed}/{role}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
