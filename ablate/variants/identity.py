"""What can change a result, in one canonical form, and hashes over it.

Two settings with the same canonical form are the same variant. Left out is what changes no result: where data
lie (their fingerprint is in the trial's identity) and which weights are kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate.errors import Problem, StudyError
from ablate.spec.catalogue import (
    ATTENTION,
    BACKBONES,
    OPTIMIZERS,
    Entry,
    schedule_arguments,
    with_defaults,
)
from ablate.spec.names import is_import_path, module_file
from ablate.spec.settings import AttentionSettings, OptimizerSettings, ScheduleSettings, Settings
from ablate.spec.words import show

# Settings that came after the first version: at these values they leave no trace in the canonical form, so
# that trials trained before a setting existed keep their identity.
JOINED_LATER: dict[str, Any] = {
    "data.classes": None,
    "model.attention.place": "after",
    "model.attention.gate": "own",
    "train.steps": None,
    "train.lr": {},
    "train.accumulate": 1,
    "train.gradient_checkpointing": False,
    "train.accelerate": "auto",
    "train.optimizer.decay_on": "all",
}

# Values of train.accelerate under which training gives the same bits, as a probe holds it to: one variant.
SAME_BITS = ("auto", "off", "graphs")

# Raised whenever a change of our code changes the result of a training run, or a measured cost, respectively.
TRAINING_CODE = 1
MEASURE_CODE = 1


def canonical(settings: Settings, *, pretraining: str | None = None) -> dict[str, Any]:
    """Plain nested settings, equal for settings that must give equal results.

    As `complete`, without what joined later (JOINED_LATER, and arguments of the catalogue) at its defaults.
    """
    plain = complete(settings, pretraining=pretraining)
    for key, value in JOINED_LATER.items():
        _leave_out(plain, key.split("."), value)
    model, attention = plain["model"], plain["model"]["attention"]
    _leave_out_arguments(model["args"], BACKBONES.get(model["backbone"]))
    if attention is not None:
        _leave_out_arguments(attention["args"], ATTENTION.get(attention["name"]))
    return plain


def complete(settings: Settings, *, pretraining: str | None = None) -> dict[str, Any]:
    """Plain nested settings with every default filled in.

    pretraining: the id of the variant that `model.weights: pretraining:NAME` means, to stand in NAME's place.
    Attention with all its switches off is None; `at` is sorted and without repetition; a schedule has its own
    keys only; lists are lists and whole floats are floats. `data.root` and `train.keep` are absent; so is
    `train.epochs` where steps or stages take its place.
    """
    data = settings.model_dump()
    del data["data"]["root"], data["train"]["keep"]
    model, train = settings.model, settings.train
    backbone = BACKBONES.get(model.backbone)
    data["model"]["args"] = with_defaults(model.args, backbone.args if backbone else {})
    data["model"]["attention"] = _attention(model.attention)
    if pretraining is not None:
        data["model"]["weights"] = f"pretraining:{pretraining}"
    data["train"]["optimizer"] = _optimizer(train.optimizer)
    data["train"]["schedule"] = _schedule(train.schedule)
    if train.lr:
        data["train"]["lr"] = _rates(train.lr)
    if train.accelerate in SAME_BITS:
        data["train"]["accelerate"] = "auto"
    if train.steps is not None or train.stages:
        del data["train"]["epochs"]
    for stage, plain in zip(train.stages, data["train"]["stages"], strict=True):
        plain["optimizer"] = None if stage.optimizer is None else _optimizer(stage.optimizer)
        plain["schedule"] = None if stage.schedule is None else _schedule(stage.schedule)
        plain["lr"] = _rates(stage.lr)
    return {section: _normal(values) for section, values in data.items()}


def _leave_out(plain: Any, parts: Sequence[str], value: Any) -> None:
    """Drop the key at the dotted place if it has this value."""
    for part in parts[:-1]:
        plain = plain.get(part) if isinstance(plain, dict) else None
    if isinstance(plain, dict) and parts[-1] in plain and plain[parts[-1]] == value:
        del plain[parts[-1]]


def _attention(attention: AttentionSettings | None) -> dict[str, Any] | None:
    if attention is None:
        return None
    entry = ATTENTION.get(attention.name)
    args = with_defaults(attention.args, entry.args if entry else {})
    if entry and entry.switches and not any(args[switch] for switch in entry.switches):
        return None
    return {
        "name": attention.name,
        "args": args,
        "at": sorted(set(attention.at)),
        "place": attention.place,
        "gate": attention.gate,
    }


def _leave_out_arguments(args: dict[str, Any], entry: Entry | None) -> None:
    """Drop those that joined an entry of the catalogue later and are at their defaults."""
    defaults = with_defaults({}, entry.args) if entry else {}
    for name, argument in entry.args.items() if entry else ():
        if argument.joined_later and args.get(name) == _normal(defaults[name]):
            del args[name]


def _optimizer(optimizer: OptimizerSettings) -> dict[str, Any]:
    entry = OPTIMIZERS[optimizer.name]
    return optimizer.model_dump() | {"args": with_defaults(optimizer.args, entry.args)}


def _rates(rates: Mapping[str, float]) -> list[list[Any]]:
    """Pairs, since the order decides: of the globs that name a parameter the last is in force."""
    return [[glob, rate] for glob, rate in rates.items()]


def _schedule(schedule: ScheduleSettings) -> dict[str, Any]:
    return {"name": schedule.name, **schedule_arguments(schedule)}


def _normal(value: Any) -> Any:
    """Tuples as lists, and no negative zero."""
    if isinstance(value, Mapping):
        return {key: _normal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(item) for item in value]
    return value + 0.0 if isinstance(value, float) else value


def _sha256(data: Any) -> str:
    """Of the JSON text with sorted keys, so that the order of keys does not matter."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def variant_id(settings: Settings, *, pretraining: str | None = None) -> str:
    """12 hex characters over the canonical settings. pretraining: as for `canonical`."""
    return _sha256(canonical(settings, pretraining=pretraining))[:12]


def trial_identity(
    settings: Settings,
    seed: int,
    *,
    data_fingerprint: str,
    precision: str,
    weights_sha256: str | None = None,
    sources: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """All that can change the result of a trial.

    precision: as resolved on the device, in place of `auto`. weights_sha256: of the weights file, in place of
    its path; "trial:ID" for the last weights of that trial, known before it is trained. sources: SHA-256 of
    the user's own modules by name.
    """
    plain = canonical(settings)
    del plain["train"]["precision"]
    if weights_sha256 is not None:
        del plain["model"]["weights"]
    return {
        "settings": plain,
        "seed": seed,
        "data_fingerprint": data_fingerprint,
        "precision": precision,
        "weights_sha256": weights_sha256,
        "sources": dict(sorted((sources or {}).items())),
        "training_code": TRAINING_CODE,
    }


def identity_hash(identity: Mapping[str, Any]) -> str:
    """16 hex characters; independent of the order of keys."""
    return _sha256(_normal(identity))[:16]


def cost_id(
    settings: Settings,
    *,
    input_shape: Sequence[int],
    classes: int,
    sources: Mapping[str, str] | None = None,
) -> str:
    """16 hex characters over what can change a cost: the model (not its weights), the input and the user's
    modules.

    input_shape: (C, H, W). sources: of `source_fingerprints`; the data's own module has no part in a cost.
    """
    model = canonical(settings)["model"]
    del model["weights"]
    used = {model["backbone"], (model["attention"] or {}).get("name")}
    content = {
        "model": model,
        "input_shape": list(input_shape),
        "classes": classes,
        "sources": {name: digest for name, digest in (sources or {}).items() if name in used},
        "measure_code": MEASURE_CODE,
    }
    return _sha256(content)[:16]


ABSENT = object()
# Eight digits tell one from another; the whole is in the records.
_SHA256 = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{56}\b")


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (old, new) where two nested mappings differ; ABSENT for a key that one of them lacks.

    Mappings that name different things (another mechanism, another schedule) differ as a whole.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key, ABSENT), new.get(key, ABSENT)
        nested = isinstance(before, Mapping) and isinstance(after, Mapping)
        if nested and before.get("name") == after.get("name"):
            found |= differences(before, after, f"{prefix}{key}.")
        elif ABSENT in (before, after) or _sha256(before) != _sha256(after):
            found[f"{prefix}{key}"] = (before, after)
    return found


def changed_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The differences of two trial identities, one line each: ``"train.epochs: 4 -> 5"``."""
    return [
        f"{key}: {_shown(before)} -> {_shown(after)}"
        for key, (before, after) in sorted(differences(_in_words(old), _in_words(new)).items())
    ]


def _in_words(identity: Mapping[str, Any]) -> dict[str, Any]:
    """The settings' sections and the other fields side by side, in a user's words."""
    plain = {
        key.replace("_", " "): value for key, value in identity.items() if key not in ("settings", "sources")
    }
    sources = {f"source of {name}": digest for name, digest in identity.get("sources", {}).items()}
    return {**identity.get("settings", {}), **sources, **plain}


def _shown(value: Any) -> str:
    return "(absent)" if value is ABSENT else _SHA256.sub(r"\1", show(value))


def weights_sha256(path: str | Path) -> str:
    """SHA-256 of the content of a weights file. StudyError if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        message = f"the weights file {str(path)!r} cannot be read: {error.strerror or error}"
        raise StudyError([Problem(message, field="model.weights")]) from None


def source_fingerprints(settings: Settings) -> dict[str, str]:
    """SHA-256 of the source file of each ``package.module:name`` in the settings, by that name.

    The file is found as an import would find it, but is not executed. What it imports in turn is not
    followed. Raises StudyError for a module that cannot be found.
    """
    attention = settings.model.attention
    fields = {
        "data.source": settings.data.source,
        "model.backbone": settings.model.backbone,
        "model.attention.name": attention.name if attention is not None else "",
    }
    found: dict[str, str] = {}
    for field, name in fields.items():
        if not is_import_path(name):
            continue
        file = module_file(name.split(":")[0])
        if file is None:
            hint = "run where it can be imported from, or install it"
            message = f"there is no module {name.split(':')[0]!r} on Python's path"
            raise StudyError([Problem(message, field=field, hint=hint)])
        found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found
