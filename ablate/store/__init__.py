"""The results tree: where every file lies, atomic writes, checked reads, iteration, and locks.

A record appears by an atomic rename and is the sole proof that its trial is done; copying trees from two
machines together merges them.
"""

from ablate.store.damage import find_damage, naming_all_damage
from ablate.store.files import explained, sha256_of, takes_no_more, write_bytes, write_text
from ablate.store.locks import STALE_AFTER_S, Holder, Lock, LockLost, Seen, Watch
from ablate.store.paths import RESERVED_NAMES, StudyPaths, TrialPaths
from ablate.store.progress import Progress
from ablate.store.reading import Damaged, together
from ablate.store.settings import read_settings
from ablate.store.tree import PREDICTION_ARRAYS, Store

__all__ = [
    "PREDICTION_ARRAYS",
    "RESERVED_NAMES",
    "STALE_AFTER_S",
    "Damaged",
    "Holder",
    "Lock",
    "LockLost",
    "Progress",
    "Seen",
    "Store",
    "StudyPaths",
    "TrialPaths",
    "Watch",
    "explained",
    "find_damage",
    "naming_all_damage",
    "read_settings",
    "sha256_of",
    "takes_no_more",
    "together",
    "write_bytes",
    "write_text",
]
