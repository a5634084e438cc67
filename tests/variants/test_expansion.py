"""Study -> variants: order, names, aliases, sweeps, designs and the matrix."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from ablate.errors import StudyError
from ablate.spec import load_study
from ablate.variants import Expansion, canonical, expand

MSA = Path(__file__).parents[1] / "spec" / "msa.yaml"
SWITCHES = ("multi_scale", "channel", "spatial")
Build = Callable[..., Expansion]

HEAD = """
name: a
baseline: plain
defaults:
  model: {attention: {name: msa, args: {reduction: 16}, at: [block2, block3]}}
variants:
  msa: {}
  plain: {model.attention: null}
"""


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def build(text: str, *variants: str) -> Expansion:
        """The study with further variants, each a line, and further parts."""
        path = tmp_path / "s.yaml"
        lines = "".join(f"  {variant}\n" for variant in variants)
        path.write_text(HEAD + lines + textwrap.dedent(text), encoding="utf-8")
        return expand(load_study(path))

    return build


def names(expansion: Expansion) -> list[str]:
    return [variant.name for variant in expansion.variants]


def test_the_shipped_study_in_full() -> None:
    expansion = expand(load_study(MSA))
    assert names(expansion) == [
        "baseline",
        "multi-scale",
        "+channel",
        "+spatial",
        "msa",
        "msa reduction=4",
        "msa reduction=8",
        "msa reduction=32",
        "msa at=shallow",
        "msa at=deep",
        "channel",
        "spatial",
        "channel+spatial",
    ]
    aliases = {v.name: v.aliases for v in expansion.variants if v.aliases}
    assert aliases == {
        "baseline": ("none",),
        "+channel": ("multi-scale+channel",),
        "+spatial": ("multi-scale+spatial",),
        "msa": ("multi-scale+channel+spatial",),
    }
    assert [v.origin for v in expansion.variants] == ["variant"] * 5 + ["sweep"] * 5 + ["design"] * 3
    assert len({v.id for v in expansion.variants}) == 13
    assert all(len(v.id) == 12 for v in expansion.variants)
    for name, line in {
        "baseline": 22,
        "msa": 26,
        "msa reduction=8": 28,
        "msa at=deep": 29,
        "channel": 31,
    }.items():
        variant = expansion.find(name)
        assert variant is not None and variant.where == f"{MSA}:{line}"
    assert expansion.find("multi-scale+channel") is expansion.find("+channel")
    assert expansion.find("no such variant") is None


def test_the_cells_of_the_factorial_are_those_that_their_names_say() -> None:
    expansion = expand(load_study(MSA))
    (design,) = expansion.designs
    assert design.factors == ("multi-scale", "channel", "spatial")
    assert len(design.cells) == 8
    for on, name in design.cells:
        variant = expansion.find(name)
        assert variant is not None and variant.name == name, "cells refer to final names"
        assert variant.switches == {switch: switch.replace("_", "-") in on for switch in SWITCHES}
        attention = canonical(variant.settings)["model"]["attention"]
        if not on:
            assert attention is None and variant.settings.model.attention is None
        else:
            assert {switch: attention["args"][switch] for switch in SWITCHES} == variant.switches
            assert (attention["args"]["reduction"], attention["at"]) == (16, ["block2", "block3"])


def test_sweeps_hold_the_level_they_start_from() -> None:
    reduction, at = expand(load_study(MSA)).sweeps
    assert (reduction.name, reduction.start, reduction.setting, reduction.numeric) == (
        "reduction",
        "msa",
        "model.attention.args.reduction",
        True,
    )
    assert reduction.levels == (
        ("4", "msa reduction=4"),
        ("8", "msa reduction=8"),
        ("16", "msa"),
        ("32", "msa reduction=32"),
    )
    assert at.levels == (("msa", "msa"), ("shallow", "msa at=shallow"), ("deep", "msa at=deep"))
    assert not at.numeric


def test_a_level_that_is_listed_although_the_sweep_starts_from_it_is_the_start(build: Build) -> None:
    expansion = build("sweeps: [{from: msa, set: model.attention.args.reduction, values: [32, 16, 4]}]")
    assert expansion.sweeps[0].levels == (("32", "msa reduction=32"), ("16", "msa"), ("4", "msa reduction=4"))
    assert expansion.find("msa reduction=16") is expansion.find("msa")


@pytest.mark.parametrize(
    ("values", "labels"),
    [("[32, 4]", ["32", "16", "4"]), ("[4, 32, 8]", ["16", "4", "32", "8"]), ("[4, 8]", ["4", "8", "16"])],
)
def test_the_start_takes_its_place_in_the_order_of_the_file(
    build: Build, values: str, labels: list[str]
) -> None:
    expansion = build(f"sweeps: [{{from: msa, set: model.attention.args.reduction, values: {values}}}]")
    assert [label for label, _ in expansion.sweeps[0].levels] == labels


def test_a_start_without_a_number_is_no_level_of_a_sweep_of_numbers(build: Build) -> None:
    expansion = build("sweeps: [{from: msa, set: train.clip_norm, values: [1, 2.5]}]")
    assert expansion.sweeps[0].levels == (("1", "msa clip_norm=1"), ("2.5", "msa clip_norm=2.5"))


def test_the_baseline_comes_first_and_what_it_changes_is_nothing(build: Build) -> None:
    expansion = build("")
    assert names(expansion) == ["plain", "msa"]
    plain, msa = expansion.variants
    assert (plain.changed, plain.switches) == ({}, dict.fromkeys(SWITCHES, False))
    assert msa.changed == {
        "model.attention": {
            "name": "msa",
            "args": {"reduction": 16, "multi_scale": True, "channel": True, "spatial": True},
            "at": ["block2", "block3"],
        }
    }


def test_what_a_variant_changes_is_said_in_dotted_settings(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "name: a\nbaseline: msa\n"
        "defaults: {model: {attention: {name: msa, at: [block1]}}, train: {schedule: {name: plateau}}}\n"
        "variants:\n  msa: {}\n"
        "  a: {model.attention.args.reduction: 4, train.optimizer.lr: 0.1, train.keep: best}\n"
        "  b: {train.schedule: {name: constant}}\n"
        "  se: {model.attention: {name: se, at: [block1]}}\n"
    )
    changed = {v.name: v.changed for v in expand(load_study(path)).variants}
    assert changed == {
        "msa": {},
        "a": {"model.attention.args.reduction": 4, "train.optimizer.lr": 0.1},
        "b": {"train.schedule": {"name": "constant"}},
        "se": {"model.attention": {"name": "se", "args": {"reduction": 16}, "at": ["block1"]}},
    }


def test_two_names_for_the_same_content_are_one_variant(build: Build) -> None:
    expansion = build(
        "",
        "twin: {extends: msa}",
        "other: {model.attention.at: [block3, block2, block3], train.keep: best, data.root: /data}",
        "off: {model.attention.args: {multi_scale: false, channel: false, spatial: false}}",
    )
    assert names(expansion) == ["plain", "msa"]
    assert expansion.variants[0].aliases == ("off",)
    assert expansion.variants[1].aliases == ("twin", "other")


DESIGN = (
    "{{kind: {kind}, from: {start}, "
    "switches: {{ms: model.attention.args.multi_scale, ch: model.attention.args.channel}}}}"
)


def test_leave_one_out(build: Build) -> None:
    expansion = build(f"designs: [{DESIGN.format(kind='leave-one-out', start='msa')}]")
    assert expansion.designs[0].cells == ((("ms", "ch"), "msa"), (("ch",), "-ms"), (("ms",), "-ch"))
    minus = expansion.find("-ch")
    assert minus is not None and minus.switches == {"multi_scale": True, "channel": False, "spatial": True}


def test_add_one_keeps_what_is_not_switched(build: Build) -> None:
    expansion = build(f"designs: [{DESIGN.format(kind='add-one', start='msa')}]")
    assert expansion.designs[0].cells == (((), "none"), (("ms",), "+ms"), (("ch",), "+ch"))
    none = expansion.find("none")
    assert none is not None and none.name == "none", "spatial is still on, so it is not the baseline"
    assert none.switches == {"multi_scale": False, "channel": False, "spatial": True}


def test_a_design_over_settings_that_are_no_attention(build: Build) -> None:
    expansion = build(
        "designs: "
        "[{kind: factorial, from: plain, switches: {flip: data.augment.flip, last: train.channels_last}}]"
    )
    assert expansion.designs[0].cells == (
        ((), "plain"),
        (("flip",), "flip"),
        (("last",), "last"),
        (("flip", "last"), "flip+last"),
    )


def test_full_cells_have_a_name_when_no_variant_is_the_same(build: Build) -> None:
    expansion = build(
        f"designs: [{DESIGN.format(kind='leave-one-out', start='half')}]",
        "half: {model.attention.args.channel: false}",
    )
    full = expansion.find("full")
    assert full is not None and full is expansion.find("msa"), "all on is what msa is"
    assert dict(expansion.designs[0].cells)[("ms",)] == "half"


def test_a_matrix_multiplies_its_axes(build: Build) -> None:
    expansion = build("""
        matrix:
          - from: msa
            set:
              model.attention.args.reduction: [4, 8]
              at: {model.attention.at: {shallow: [block1], deep: [block3]}}
    """)
    cells = names(expansion)[2:]
    assert cells == [
        "msa reduction=4 at=shallow",
        "msa reduction=4 at=deep",
        "msa reduction=8 at=shallow",
        "msa reduction=8 at=deep",
    ]
    last = expansion.find(cells[-1])
    assert last is not None and last.origin == "matrix"
    attention = last.settings.model.attention
    assert attention is not None and (attention.args["reduction"], attention.at) == (8, ("block3",))


def test_a_matrix_with_zip_exclude_and_include(build: Build) -> None:
    expansion = build("""
        matrix:
          - from: msa
            set:
              model.attention.args.reduction: [4, 8, 16]
              model.args.width: [0.25, 0.5, 1]
              at: {model.attention.at: {shallow: [block1], deep: [block3]}}
            zip: [[reduction, width]]
            exclude: [{reduction: 4, at: deep}, {width: 1}]
            include: [{reduction: 64}, {at: [block2]}, {width: 2.0, at: shallow}]
    """)
    assert names(expansion)[2:] == [
        "msa reduction=4 width=0.25 at=shallow",
        "msa reduction=8 width=0.5 at=shallow",
        "msa reduction=8 width=0.5 at=deep",
        "msa reduction=64",
        "msa at=block2",
        "msa width=2.0 at=shallow",
    ]
    added = expansion.find("msa width=2.0 at=shallow")
    assert added is not None and added.settings.model.args == {"width": 2.0}
    assert added.settings.model.attention is not None and added.settings.model.attention.args == {
        "reduction": 16
    }


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("set: {}", "matrix[0].set: must not be empty: give at least one setting"),
        ("set: {train.epochs: []}", "matrix[0].set.train.epochs: must not be empty: give at least one value"),
        ("set: {epochs: [1]}", "matrix[0].set.epochs: must be a mapping with one dotted setting"),
        ("set: {train.epochs: [1, 2], x: {train.epochs: [1]}}, zip: [[epochs, x]]", "epochs has 2, x has 1"),
        (
            "set: {train.epochs: [1, 2]}, zip: [[epochs]]",
            "must be a group of two or more axes, each in one group only",
        ),
        (
            "set: {train.epochs: [1, 2]}, exclude: [{epochs: 3}]",
            "matrix[0].exclude[0].epochs: 'epochs' has no level 3",
        ),
        (
            "set: {train.epochs: [1, 2]}, exclude: [{epochs: 1}, {epochs: 2}]",
            "matrix[0].exclude: every cell is excluded",
        ),
        ("set: {train.epochs: [1, 2]}, include: [{epoch: 3}]", "there is no axis 'epoch' in this entry"),
        (
            "set: {train.epochs: [1, 2]}, include: [{epochs: 0}]",
            "matrix[0]: train.epochs: must be at least 1, got 0",
        ),
        (
            "set: {model.args.width: [1], x: {model.args.width: [2]}}, exclude: [{}]",
            "must name at least one axis",
        ),
        (
            "set: {train.epochs: [1, 2], train.batch_size: [8, 9]}, zip: [[epochs, batch_size]], "
            "exclude: [{epochs: 1, batch_size: 9}]",
            "matrix[0].exclude[0]: {epochs: 1, batch_size: 9} matches no cell",
        ),
        (
            "set: {"
            + ", ".join(
                f"{k}: [{', '.join(map(str, range(1, 12)))}]"
                for k in ("train.epochs", "train.batch_size", "model.args.hidden")
            )
            + "}",
            "matrix[0].set: gives 1,331 variants",
        ),
    ],
)
def test_a_matrix_that_makes_no_sense(build: Build, entry: str, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        build(f"matrix: [{{from: msa, {entry}}}]")
    assert message in str(caught.value)
    assert caught.value.problems[0].where.endswith("s.yaml:9")


def test_two_designs_whose_cells_would_have_one_name(build: Build) -> None:
    both = ", ".join(DESIGN.format(kind="factorial", start=start) for start in ("msa", "half"))
    with pytest.raises(StudyError, match="two different variants would be called 'ms'"):
        build(f"designs: [{both}]", "half: {train.epochs: 2}")


PRETRAINED = """
pretraining:
  on-top: {extends: bottom, model.weights: pretraining:bottom, data.classes: [0, 2]}
  bottom: {extends: plain, data.classes: [0, 1]}
  same-bottom: {model.attention: null, data.classes: [0, 1]}
"""


def test_pretrainings_are_expanded_apart_and_each_comes_after_what_it_starts_from(build: Build) -> None:
    expansion = build(PRETRAINED, "tuned: {extends: plain, model.weights: pretraining:on-top}")
    assert [each.name for each in expansion.pretraining] == ["bottom", "on-top", "same-bottom"]
    assert {each.origin for each in expansion.pretraining} == {"pretraining"}
    assert names(expansion) == ["plain", "msa", "tuned"]
    bottom, on_top, same = expansion.pretraining
    assert bottom.settings.data.classes == (0, 1)
    assert bottom.where.endswith("s.yaml:13")
    assert (on_top.pretraining, expansion.find("tuned").pretraining) == (bottom.id, on_top.id)
    assert same.id == bottom.id
    assert expansion.find("tuned").changed == {"model.weights": "pretraining:on-top"}


def test_variants_that_start_from_equal_pretrainings_are_one_variant(build: Build) -> None:
    expansion = build(
        PRETRAINED,
        "tuned: {model.weights: pretraining:bottom}",
        "again: {model.weights: pretraining:same-bottom}",
        "other: {model.weights: pretraining:on-top}",
    )
    assert names(expansion) == ["plain", "msa", "tuned", "other"]
    assert expansion.find("again") is expansion.find("tuned")


def test_a_change_of_the_pretraining_changes_what_starts_from_it(build: Build) -> None:
    line = "tuned: {model.weights: pretraining:on-top}"
    before = build(PRETRAINED, line)
    changed = build(PRETRAINED.replace("[0, 1]", "[0, 3]"), line)
    renamed = build(PRETRAINED.replace("bottom", "base"), line)
    assert before.find("tuned").id != changed.find("tuned").id
    assert before.find("tuned").id == renamed.find("tuned").id
    assert before.find("msa").id == changed.find("msa").id


def test_a_sweep_over_a_setting_that_joined_later_begins_at_its_default(build: Build) -> None:
    """Such a default is left out of the canonical form, yet it is a level of the curve."""
    sweep = "{from: msa, set: train.accumulate, as: parts, values: [2, 4]}"
    expansion = build(f"sweeps: [{sweep}]")
    assert expansion.sweeps[0].levels == (("1", "msa"), ("2", "msa parts=2"), ("4", "msa parts=4"))
