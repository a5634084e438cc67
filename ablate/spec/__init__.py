"""What the user writes: a study file, checked into frozen data. Nothing here imports torch."""

from ablate.spec.loader import load_study
from ablate.spec.schema import json_schema
from ablate.spec.settings import Settings
from ablate.spec.source import to_yaml
from ablate.spec.starter import write_starter
from ablate.spec.study import Analysis, Study
from ablate.spec.support import unsupported

__all__ = [
    "Analysis",
    "Settings",
    "Study",
    "json_schema",
    "load_study",
    "to_yaml",
    "unsupported",
    "write_starter",
]
