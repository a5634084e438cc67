"""What is hashed, what is not, and that equal content has equal hashes."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.errors import StudyError
from ablate.spec import Settings
from ablate.variants import (
    canonical,
    changed_fields,
    cost_id,
    identity_hash,
    source_fingerprints,
    trial_identity,
    variant_id,
    weights_sha256,
)
from ablate.variants.identity import JOINED_LATER


def make(**parts: Any) -> Settings:
    return Settings.model_validate(parts)


def msa(**args: Any) -> dict[str, Any]:
    return {"attention": {"name": "msa", "args": args, "at": ["block1", "block2"]}}


def trial(settings: Settings, seed: int = 0, **known: Any) -> dict[str, Any]:
    return trial_identity(settings, seed, **{"data_fingerprint": "d", "precision": "fp32", **known})


EQUAL: dict[str, tuple[Settings, Settings]] = {
    "defaults given or not": (make(), make(train={"epochs": 8, "optimizer": {"name": "adam", "lr": 1e-3}})),
    "whole number for a float": (make(model={"args": {"width": 1}}), make(model={"args": {"width": 1.0}})),
    "whole number for lr": (make(train={"optimizer": {"lr": 1}}), make(train={"optimizer": {"lr": 1.0}})),
    "mechanism's default": (make(model=msa()), make(model=msa(reduction=16, spatial=True))),
    "order of places": (
        make(model={"attention": {"name": "se", "at": ["b", "a", "b"]}}),
        make(model={"attention": {"name": "se", "at": ["a", "b"]}}),
    ),
    "nothing switched on": (make(model=msa(multi_scale=False, channel=False, spatial=False)), make()),
    "folder of the data": (make(data={"root": "/a"}), make(data={"root": "/b"})),
    "weights kept": (make(train={"keep": "best"}), make(train={"keep": "none"})),
    "schedule's default": (
        make(train={"schedule": {"name": "plateau"}}),
        make(train={"schedule": {"name": "plateau", "factor": 0.1, "patience": 3, "gamma": None}}),
    ),
    "optimizer's default": (
        make(train={"optimizer": {"args": {"betas": [0.9, 0.999]}}}),
        make(train={"optimizer": {"args": {"eps": 1e-8}}}),
    ),
    "minus zero": (make(data={"augment": {"jitter": -0.0}}), make(data={"augment": {"jitter": 0.0}})),
}
DIFFERENT: dict[str, tuple[Settings, Settings]] = {
    "epochs": (make(), make(train={"epochs": 9})),
    "lr": (make(), make(train={"optimizer": {"lr": 1.1e-3}})),
    "ratio": (make(model=msa()), make(model=msa(reduction=8))),
    "switch": (make(model=msa()), make(model=msa(spatial=False))),
    "attention or none": (make(model=msa()), make()),
    "another mechanism": (
        make(model=msa()),
        make(model={"attention": {"name": "se", "at": ["block1", "block2"]}}),
    ),
    "places": (
        make(model={"attention": {"name": "se", "at": ["a"]}}),
        make(model={"attention": {"name": "se", "at": ["b"]}}),
    ),
    "split seed": (make(), make(data={"split_seed": 1})),
    "augmentation": (make(), make(data={"augment": {"flip": True}})),
    "layout": (make(), make(train={"channels_last": True})),
    "one's own: 1 is not true": (
        make(model={"backbone": "m:n", "args": {"x": 1}}),
        make(model={"backbone": "m:n", "args": {"x": True}}),
    ),
}


@pytest.mark.parametrize("case", EQUAL)
def test_what_changes_no_result_changes_no_identity(case: str) -> None:
    one, other = EQUAL[case]
    assert canonical(one) == canonical(other)
    assert variant_id(one) == variant_id(other)
    assert identity_hash(trial(one)) == identity_hash(trial(other))


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_can_change_a_result_changes_the_identity(case: str) -> None:
    one, other = DIFFERENT[case]
    assert variant_id(one) != variant_id(other)
    assert identity_hash(trial(one)) != identity_hash(trial(other))


def test_the_identity_of_a_trial_holds_all_else_that_can_change_it() -> None:
    settings = make(model=msa())
    known: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"data_fingerprint": "e"},
        {"precision": "bf16"},
        {"weights_sha256": "w"},
        {"sources": {"m:n": "s"}},
    ]
    assert len({identity_hash(trial(settings, **more)) for more in known}) == len(known)


def test_the_precision_counts_as_it_was_resolved() -> None:
    auto, bf16 = make(), make(train={"precision": "bf16"})
    assert trial(auto, precision="bf16") == trial(bf16, precision="bf16")
    assert variant_id(auto) != variant_id(bf16), "on another device they may differ"


def test_weights_count_by_content_and_not_by_path() -> None:
    one, other = make(model={"weights": "/a.pt"}), make(model={"weights": "/b.pt"})
    assert trial(one, weights_sha256="w") == trial(other, weights_sha256="w")
    assert trial(one, weights_sha256="w") != trial(one, weights_sha256="v")
    assert trial(make(), weights_sha256=None) != trial(one, weights_sha256="w")


def test_hashes_are_the_same_on_every_machine_and_in_every_version() -> None:
    """A change here parts users from the trials they have trained: it is never made in passing."""
    identity = {"b": [1, 2.5, None, True], "a": {"ü": "x"}}
    by_hand = hashlib.sha256(b'{"a":{"\\u00fc":"x"},"b":[1,2.5,null,true]}').hexdigest()
    assert identity_hash(identity) == by_hand[:16]
    text = json.dumps(canonical(make()), sort_keys=True, separators=(",", ":"))
    assert variant_id(make()) == hashlib.sha256(text.encode()).hexdigest()[:12]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)


def shuffled(data: Any, rng: random.Random) -> Any:
    if isinstance(data, dict):
        items = [(key, shuffled(value, rng)) for key, value in data.items()]
        rng.shuffle(items)
        return dict(items)
    return [shuffled(item, rng) for item in data] if isinstance(data, list) else data


@given(st.dictionaries(st.text(max_size=4), values, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(identity: dict[str, Any], rng: random.Random) -> None:
    assert identity_hash(shuffled(identity, rng)) == identity_hash(identity)
    assert changed_fields(identity_like(identity), identity_like(shuffled(identity, rng))) == []


def identity_like(data: dict[str, Any]) -> dict[str, Any]:
    return {"settings": {"x": data}, "seed": 0}


def test_an_identity_read_back_from_json_is_the_same() -> None:
    identity = trial(
        make(model=msa(), train={"optimizer": {"args": {"betas": [0.9, 0.99]}}}), sources={"m:n": "s"}
    )
    again = json.loads(json.dumps(identity))
    assert again == identity
    assert identity_hash(again) == identity_hash(identity)
    assert changed_fields(identity, again) == []


def test_changed_fields_name_each_setting_with_both_values() -> None:
    old = trial(
        make(model=msa(reduction=16), train={"epochs": 4, "schedule": {"name": "plateau"}}),
        sources={"m:n": "s"},
    )
    new = trial(
        make(model=msa(reduction=8), train={"epochs": 5, "schedule": {"name": "step"}}),
        seed=1,
        data_fingerprint="e",
        precision="bf16",
    )
    assert changed_fields(old, new) == [
        "data fingerprint: 'd' -> 'e'",
        "model.attention.args.reduction: 16 -> 8",
        "precision: 'fp32' -> 'bf16'",
        "seed: 0 -> 1",
        "source of m:n: 's' -> (absent)",
        "train.epochs: 4 -> 5",
        "train.schedule: {name: 'plateau', factor: 0.1, patience: 3} "
        "-> {name: 'step', step_size: 5, gamma: 0.1}",
    ]
    assert changed_fields(trial(make()), {**trial(make()), "training_code": 99}) == ["training code: 1 -> 99"]
    (line,) = changed_fields(trial(make()), trial(make(model=msa())))
    assert line.startswith("model.attention: null -> {name: 'msa', args: {")


def test_a_cost_belongs_to_the_model_and_its_input_alone() -> None:
    def cost(settings: Settings, shape: tuple[int, ...] = (1, 28, 28), classes: int = 10, **more: Any) -> str:
        return cost_id(settings, input_shape=shape, classes=classes, **more)

    base = make(model=msa())
    same = make(model=msa() | {"weights": "/a.pt"}, train={"epochs": 99}, data={"source": "digits"})
    assert cost(base) == cost(same)
    others = [
        cost(make()),
        cost(make(model=msa(reduction=8))),
        cost(base, (3, 28, 28)),
        cost(base, classes=100),
        cost(make(model={"backbone": "m:n"}), sources={"m:n": "1"}),
        cost(make(model={"backbone": "m:n"}), sources={"m:n": "2"}),
    ]
    assert len({cost(base), *others}) == 7
    assert cost(base, sources={"images:load": "1"}) == cost(base), "the data's module has no part in a cost"


def test_the_source_of_ones_own_modules_is_found_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "own_parts_for_identity.py"
    module.write_text("raise SystemExit('must not be run')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    attention = {"name": "own_parts_for_identity:Gate", "at": ["block1"]}
    settings = make(model={"attention": attention}, data={"source": "own_parts_for_identity:load"})
    digest = hashlib.sha256(module.read_bytes()).hexdigest()
    assert source_fingerprints(settings) == {
        "own_parts_for_identity:load": digest,
        "own_parts_for_identity:Gate": digest,
    }
    assert source_fingerprints(make(model=msa())) == {}
    with pytest.raises(
        StudyError, match=r"model.backbone: there is no module 'no_such.module' on Python's path"
    ):
        source_fingerprints(make(model={"backbone": "no_such.module:net"}))


def test_the_content_of_a_weights_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"weights")
    assert weights_sha256(path) == hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(
        StudyError, match="the weights file '/no/such' cannot be read: No such file or directory"
    ):
        weights_sha256("/no/such")


@pytest.mark.parametrize("mutate", [lambda c: c["model"].clear(), lambda c: c["train"]["optimizer"].clear()])
def test_canonical_settings_are_a_copy(mutate: Callable[[dict[str, Any]], None]) -> None:
    settings = make(model=msa())
    mutate(canonical(settings))
    assert canonical(settings)["model"]["attention"]["args"]["reduction"] == 16
    assert canonical(settings)["train"]["optimizer"]["name"] == "adam"


def test_settings_that_joined_later_leave_no_trace_at_their_defaults() -> None:
    """Trials from before a setting existed keep their identity; the values are the settings' defaults."""
    attention = {"name": "se", "at": ["block1"]}
    settings = Settings.model_validate({"model": {"attention": attention}})
    plain, whole = canonical(settings), settings.model_dump()
    for key, value in JOINED_LATER.items():
        *section, last = key.split(".")
        there, default = plain, whole
        for part in section:
            there, default = there[part], default[part]
        assert default[last] == value
        assert last not in there
    static = Settings.model_validate({"model": {"attention": attention | {"gate": "static"}}})
    assert canonical(static)["model"]["attention"]["gate"] == "static"


def test_an_argument_that_joined_a_mechanism_later_leaves_no_trace_at_its_default() -> None:
    def of(**args: Any) -> Settings:
        return make(model={"attention": {"name": "msa", "at": ["block1"], "args": args}})

    first = {"reduction": 16, "multi_scale": True, "channel": True, "spatial": True}  # of the first version
    assert canonical(of())["model"]["attention"]["args"] == first
    assert canonical(of(deformable=False)) == canonical(of())
    assert canonical(of(deformable=True))["model"]["attention"]["args"] == {**first, "deformable": True}


def test_epochs_do_not_count_where_steps_or_stages_take_their_place() -> None:
    def of(**train: Any) -> str:
        return variant_id(Settings.model_validate({"train": train}))

    assert of(epochs=3, steps=50) == of(epochs=9, steps=50) != of(epochs=3, steps=51)
    assert of(epochs=3, stages=[{"epochs": 2}]) == of(epochs=9, stages=[{"epochs": 2}])
    assert of(epochs=3) != of(epochs=9)


def test_the_order_of_rates_counts_since_the_last_glob_that_names_a_parameter_decides() -> None:
    rates = {"block*": 1e-4, "block3": 1e-3}
    turned = dict(reversed(rates.items()))

    def of(**train: Any) -> str:
        return variant_id(Settings.model_validate({"train": train}))

    assert of(lr=rates) != of(lr=turned)
    assert of(stages=[{"epochs": 1, "lr": rates}]) != of(stages=[{"epochs": 1, "lr": turned}])
    assert of(lr={"head": 1}) == of(lr={"head": 1.0})


def test_what_a_variant_starts_from_counts_by_its_content_and_not_by_its_name() -> None:
    one, other = (make(model={"weights": f"pretraining:{name}"}) for name in ("base", "better"))
    assert variant_id(one, pretraining="c" * 12) == variant_id(other, pretraining="c" * 12)
    assert variant_id(one, pretraining="c" * 12) != variant_id(one, pretraining="d" * 12)
    assert variant_id(one, pretraining="c" * 12) != variant_id(make())


def test_in_place_of_a_hash_stands_the_trial_whose_weights_are_meant() -> None:
    """Known before anything is trained; by hand: the id of the pretraining's trial is part of the text."""
    one, other = (make(model={"weights": f"pretraining:{name}"}) for name in ("base", "better"))
    first = identity_hash(trial(make(data={"classes": [0, 1]})))
    second = identity_hash(trial(make(data={"classes": [0, 2]})))
    identity = trial(one, weights_sha256=f"trial:{first}")
    assert identity["weights_sha256"] == f"trial:{first}"
    assert "weights" not in identity["settings"]["model"]
    assert identity == trial(other, weights_sha256=f"trial:{first}")
    assert identity_hash(identity) != identity_hash(trial(one, weights_sha256=f"trial:{second}"))
    expected = trial(make()) | {"weights_sha256": f"trial:{first}"}
    del expected["settings"]["model"]["weights"]
    text = json.dumps(expected, sort_keys=True, separators=(",", ":"))
    assert identity_hash(identity) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_ways_that_give_the_same_bits_are_one_variant_and_the_compiler_is_another() -> None:
    same = {variant_id(make(train={"accelerate": way})) for way in ("auto", "off", "graphs")}
    assert same == {variant_id(make())}
    assert "accelerate" not in trial(make(train={"accelerate": "off"}))["settings"]["train"]
    assert variant_id(make(train={"accelerate": "compile"})) not in same
