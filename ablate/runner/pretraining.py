"""Which pretrainings a study needs, and whether their weights are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from ablate.environment import require_torch
from ablate.errors import AblateError, Problems
from ablate.runner.inspection import line_of
from ablate.runner.recall import Recall, network_key
from ablate.spec import Study
from ablate.spec.names import pretraining_of
from ablate.store import TrialPaths
from ablate.variants import Expansion, Variant

if TYPE_CHECKING:
    from ablate.data import Images


_SHOWN = 4  # lines about tensors that do not fit; the first ones tell


def pretraining_used(expansion: Expansion) -> tuple[Variant, ...]:
    """Those that a variant starts from, at once or by way of others; each after those it starts from."""
    of_name = {variant.name: variant for variant in expansion.pretraining}
    used: set[str] = set()
    for variant in expansion.variants:
        name = pretraining_of(variant.settings.model.weights)
        while name is not None:
            used.add(name)
            name = pretraining_of(of_name[name].settings.model.weights)
    return tuple(variant for variant in expansion.pretraining if variant.name in used)


def check_starts(
    study: Study,
    variants: Sequence[Variant],
    pretraining: Sequence[Variant],
    images: Mapping[str, Images],
    problems: Problems,
    recall: Recall,
) -> None:
    """Weights that will not fit what starts from them: a fault now, and not after hours of pretraining."""
    of_name = {variant.name: variant for variant in pretraining}
    for variant in (*pretraining, *variants):
        name = pretraining_of(variant.settings.model.weights)
        if name is None or variant.name not in images or name not in images:
            continue
        before = of_name[name]
        key = _key_of_start(variant, images[variant.name], before, images[name])
        if recall.get(key) is not None:
            continue
        require_torch()
        from ablate.trial import check_start

        try:
            check_start(variant.settings, images[variant.name], before.settings, images[name], name=name)
            recall.put(key, "fits")
        except AblateError as error:
            lines = str(error).splitlines()
            more = f"\n    … and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
            message = "\n".join(lines[:_SHOWN]) + more
            problems.add(message, where=line_of(study, variant, "model.weights"), field=variant.name)


def _key_of_start(variant: Variant, images: Images, before: Variant, images_before: Images) -> str | None:
    start = network_key("inspection", before.settings, images_before.shape, len(images_before.classes))
    if start is None:
        return None
    return network_key("start", variant.settings, images.shape, len(images.classes), before=start)


def last_weights_kept(paths: TrialPaths) -> bool:
    """Whether a finished trial left the weights of its last epoch; `keep: best` leaves others."""
    return paths.weights.is_file() and _kept(paths.settings) == "last"


def _kept(settings: Path) -> str:
    try:
        return str(yaml.safe_load(settings.read_text(encoding="utf-8"))["train"]["keep"])
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return "unknown"
