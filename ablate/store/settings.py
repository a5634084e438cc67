"""The settings that a trial was trained with, read back."""

from __future__ import annotations

import yaml
from pydantic import ValidationError

from ablate.errors import StoreError
from ablate.spec.settings import Settings
from ablate.store.tree import Store


def read_settings(store: Store, trial_id: str) -> Settings:
    """settings.yaml of a trial. Raises StoreError where it is not there, or is none."""
    path = store.confined(store.trial(trial_id).settings)
    try:
        return Settings.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        message = f"{path} is not there: nothing says how the trial was trained"
    except (OSError, ValueError, yaml.YAMLError, ValidationError) as error:
        message = f"{path} cannot be read as settings: {error}"
    raise StoreError(f"{message}\n    run its study with --force, or copy the folder again")
