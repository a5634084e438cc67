"""Broken studies: every fault in one go, each with file:line, the value, what is allowed, and the way out."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest

from ablate.cli import main
from ablate.errors import StudyError
from ablate.spec import load_study
from ablate.variants import expand

GOOD = (Path(__file__).parent / "spec" / "msa.yaml").read_text(encoding="utf-8")
VARIANTS = "baseline, multi-scale, +channel, +spatial, msa"
TRAIN = (
    "epochs, steps, batch_size, optimizer, schedule, lr, stages, label_smoothing, clip_norm, accumulate, "
    "gradient_checkpointing, precision, channels_last, compile, accelerate, deterministic, keep"
)
OPTIMIZERS = "sgd, adam, adamw, nadam, radam, rmsprop, adagrad, adadelta, adamax, asgd, rprop, adafactor"
METRICS = "accuracy, param_count, macs, latency_ms, peak_memory_bytes"
NAME = "letters, digits, '+', '-', '_', '.', '=' and spaces, at most 80 characters"
PART = "letters, digits, '-', '_', '.' and spaces, at most 80 characters"
GLOBS = "paths such as 'block1' or 'features.4'; globs with *, ?, ** and [12]"
MSA_ARGS = "reduction, multi_scale, channel, spatial, deformable"
NO_ATTENTION = (
    "there is no attention here to set this of: model.attention is null\n"
    "    give a whole one: model.attention: {name: se, at: [block1]}, or start from a variant that has one"
)
SWITCHED = "    a switch is a setting that is true or false"
FIRST_SWEEP = "{from: msa, set: model.attention.args.reduction, as: reduction, values: [4, 8, 32]}"
LAST = "analysis: {test"


def problems(folder: Path, content: str | bytes, overrides: tuple[str, ...] = ()) -> list[str]:
    """The faults found by loading and expanding; `validate` and `plan` print the same. The file is s.yaml."""
    path = folder / "s.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(folder.rglob("*"))
    with pytest.raises(StudyError) as caught:
        expand(load_study("s.yaml", overrides))
    assert caught.value.exit_code == 2
    assert sorted(folder.rglob("*")) == before, "nothing is written"
    found = [str(problem) for problem in caught.value.problems]
    count = f"{len(found)} problem{'s' if len(found) > 1 else ''} found; nothing was run"
    assert str(caught.value) == "\n".join([count, *(f"  {problem}" for problem in found)])
    for command in ("validate", "plan"):
        assert command_line(command, "s.yaml", *overrides) == (2, f"error: {caught.value}\n")
    assert sorted(folder.rglob("*")) == before, "nothing is written by the commands"
    return found


def command_line(*arguments: str) -> tuple[object, str]:
    """Exit code and standard error of `ablate …`, run in this process, but for what it was about to do."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as ended:
        main(arguments)
    lines = said.getvalue().splitlines(keepends=True)
    return ended.value.code, "".join(line for line in lines if not line.endswith(" …\n"))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# id: (text in the good study, what replaces it, every problem in full)
EDITED: dict[str, tuple[str, str, list[str]]] = {
    "unknown key": (
        "epochs: 4",
        "epoch: 4",
        [f"s.yaml:17: train.epoch: unknown key 'epoch'\n    allowed: {TRAIN}\n    did you mean 'epochs'?"],
    ),
    "unknown key of the study": (
        "seeds: [0, 1, 2, 3, 4]",
        "seed: 5",
        [
            "s.yaml:4: seed: unknown key 'seed'\n    allowed: "
            "name, title, scope, baseline, seeds, analysis, defaults, "
            "pretraining, variants, sweeps, designs, matrix, controls, claims, tune\n"
            "    did you mean 'seeds'?"
        ],
    ),
    "unknown dotted key": (
        "msa: {}",
        "msa: {train.epoch: 3}",
        [
            "s.yaml:26: variants.msa: train.epoch: no such setting\n"
            f"    allowed: {TRAIN}\n    did you mean 'train.epochs'?"
        ],
    ),
    "key below a single value": (
        "msa: {}",
        "msa: {train.epochs.first: 3}",
        [
            "s.yaml:26: variants.msa: train.epochs.first: no such setting: train.epochs has no keys\n"
            "    set train.epochs as a whole"
        ],
    ),
    "whole section": (
        "msa: {}",
        "msa: {train: {epochs: 3}}",
        [
            "s.yaml:26: variants.msa: train: a whole section cannot be set at once\n"
            "    write dotted settings, such as 'train.epochs'"
        ],
    ),
    "text for a number": (
        "epochs: 4",
        "epochs: four",
        ["s.yaml:17: train.epochs: must be a whole number, got 'four'"],
    ),
    "fraction for a whole number": (
        "epochs: 4",
        "epochs: 4.5",
        ["s.yaml:17: train.epochs: must be a whole number, got 4.5"],
    ),
    "true for a number": (
        "epochs: 4",
        "epochs: true",
        ["s.yaml:17: train.epochs: must be a whole number, got true"],
    ),
    "number in quotes": (
        "lr: 1.0e-3",
        "lr: '1e-3'",
        [
            "s.yaml:19: train.optimizer.lr: must be a number, got '1e-3'\n"
            "    write the number without quotes: 1e-3"
        ],
    ),
    "old YAML boolean": (
        "flip: true",
        "flip: on",
        ["s.yaml:8: data.augment.flip: must be true or false, got 'on'\n    write true, without quotes"],
    ),
    "number for text": (
        "title: What",
        "title: 5\n#",
        ["s.yaml:2: title: must be text, got 5\n    put it in quotes: '5'"],
    ),
    "absent baseline": (
        "baseline: baseline",
        "baseline: basline",
        [
            f"s.yaml:3: baseline: there is no variant 'basline'\n    allowed: {VARIANTS}\n"
            "    did you mean 'baseline'?"
        ],
    ),
    "no baseline": (
        "baseline: baseline\n",
        "",
        [
            "s.yaml:1: baseline: is missing\n"
            "    add a line 'baseline: NAME' with the variant that every other is compared with"
        ],
    ),
    "duplicate variant": (
        "  msa: {}",
        "  msa: {}\n  msa: {train.epochs: 3}",
        [
            "s.yaml:27: variants.msa: the key 'msa' is given on "
            "line 26 and on line 27\n    keep one of the two"
        ],
    ),
    "unclosed glob": (
        "at: [block2,",
        "at: ['block[2',",
        [f"s.yaml:15: model.attention.at[0]: the place 'block[2' has an unclosed '['\n    allowed: {GLOBS}"],
    ),
    "path for a glob": (
        "at: [block2,",
        "at: [block2/conv,",
        [
            "s.yaml:15: model.attention.at[0]: the place 'block2/conv' "
            f"is no module path or glob\n    allowed: {GLOBS}"
        ],
    ),
    "number for a place": (
        "at: [block2,",
        "at: [4,",
        ["s.yaml:15: model.attention.at[0]: must be text, got 4\n    put it in quotes: '4'"],
    ),
    "no places": (
        "at: [block2, block3]",
        "at: []",
        ["s.yaml:15: model.attention.at: must not be empty, got []"],
    ),
    "ratio 0": (
        "reduction: 16",
        "reduction: 0",
        ["s.yaml:14: model.attention.args.reduction: must be a whole number of at least 1, got 0"],
    ),
    "wrong values in a sweep": (
        "[4, 8, 32]",
        "[4, 0, 8.5]",
        [
            "s.yaml:28: sweeps[0]: model.attention.args.reduction: "
            "must be a whole number of at least 1, got 0",
            "s.yaml:28: sweeps[0]: model.attention.args.reduction: "
            "must be a whole number of at least 1, got 8.5",
        ],
    ),
    "sweep without values": (
        "[4, 8, 32]",
        "[]",
        ["s.yaml:28: sweeps[0].values: must not be empty: give at least one value"],
    ),
    "sweep with a value twice": (
        "[4, 8, 32]",
        "[4, 8, 4]",
        ["s.yaml:28: sweeps[0].values: the value 4 is given twice"],
    ),
    "sweep with a value without a name": (
        "values: [4, 8, 32]",
        "values: [{a: 1}]",
        [
            "s.yaml:28: sweeps[0].values[0]: the value {a: 1} needs a label to name its variant by\n"
            "    write a mapping of labels instead of a list: {some-label: {a: 1}}"
        ],
    ),
    "sweep over a setting that is misspelt": (
        "set: model.attention.args.reduction",
        "set: model.attention.args.reductoin",
        [
            "s.yaml:28: sweeps[0]: model.attention.args.reductoin: "
            "the attention 'msa' has no argument 'reductoin'\n"
            f"    allowed: {MSA_ARGS}\n    did you mean 'reduction'?"
        ],
    ),
    "sweep over half a key": (
        "set: model.attention.args.reduction",
        "set: reduction",
        [
            "s.yaml:28: sweeps[0]: reduction: no such setting\n    allowed: data, model, train\n"
            "    did you mean 'model.attention.args.reduction'?"
        ],
    ),
    "sweep from nowhere": (
        "{from: msa, set: model.attention.at",
        "{from: mas, set: model.attention.at",
        [
            "s.yaml:29: sweeps[1].from: there is no variant 'mas'\n "
            f"   allowed: {VARIANTS}\n    did you mean 'msa'?"
        ],
    ),
    "sweep of an attention that is null": (
        "{from: msa, set: model.attention.args",
        "{from: baseline, set: model.attention.args",
        [f"s.yaml:28: sweeps[0]: model.attention.args.reduction: {NO_ATTENTION}"],
    ),
    "variant of an attention that is null": (
        "msa: {}",
        "msa: {}\n  half: {extends: baseline, model.attention.args.reduction: 8}",
        [f"s.yaml:27: variants.half: model.attention.args.reduction: {NO_ATTENTION}"],
    ),
    "the same sweep twice": (
        f"  - {FIRST_SWEEP}",
        f"  - {FIRST_SWEEP}\n  - {FIRST_SWEEP.replace('4,', '2,')}",
        [
            "s.yaml:29: sweeps[1].as: the sweep 'reduction' of 'msa' stands at s.yaml:28 already\n"
            "    join their values, or give one another name by `as`",
            "s.yaml:41: claims[1].over: several sweeps are called 'reduction'\n    say which one: of: msa",
        ],
    ),
    "seeds empty": (
        "[0, 1, 2, 3, 4]",
        "[]",
        [
            "s.yaml:4: seeds: must not be empty, got []: without a seed nothing is trained\n"
            "    write seeds: 5, or seeds: 0 for the costs alone"
        ],
    ),
    "fewer than no seeds": (
        "[0, 1, 2, 3, 4]",
        "-1",
        ["s.yaml:4: seeds: must be a number of seeds from 0 to 1000, got -1"],
    ),
    "accuracy asked of costs alone": (
        "[0, 1, 2, 3, 4]",
        "0",
        [
            *(
                f"s.yaml:{line}: claims[{line - 39}].metric: the claim {claim!r} is about accuracy, and with "
                "seeds: 0 nothing is trained\n    allowed: param_count, macs, latency_ms, peak_memory_bytes"
                for line, claim in enumerate(("C1", "C4", "C5", "C5i"), start=39)
            ),
            "s.yaml:43: tune: with seeds: 0 nothing is trained, and what a search finds would never be "
            "judged\n    give the study seeds, or leave tune out",
        ],
    ),
    "a scope that is no text": (
        "baseline: baseline",
        "scope: 5\nbaseline: baseline",
        ["s.yaml:3: scope: must be text, got 5\n    put it in quotes: '5'"],
    ),
    "seed twice": ("[0, 1, 2, 3, 4]", "[0, 1, 0]", ["s.yaml:4: seeds[2]: the seed 0 is given twice"]),
    "negative seed": (
        "[0, 1, 2, 3, 4]",
        "[0, -1]",
        ["s.yaml:4: seeds[1]: must be a whole number of at least 0, got -1"],
    ),
    "extends nothing": (
        "msa: {}",
        "msa: {extends: multiscale}",
        [
            f"s.yaml:26: variants.msa.extends: there is no variant 'multiscale'\n    allowed: {VARIANTS}\n"
            "    did you mean 'multi-scale'?"
        ],
    ),
    "circular extends": (
        "msa: {}",
        "msa: {}\n  a: {extends: c}\n  b: {extends: a}\n  c: {extends: b}",
        [
            "s.yaml:27: variants.a.extends: goes round in a circle: a -> c -> b -> a\n"
            "    let one of them start from the defaults, without extends"
        ],
    ),
    "slash in a name": (
        "msa: {}",
        "msa: {}\n  a/b: {}",
        [f"s.yaml:27: variants: the name 'a/b' contains '/'\n    allowed: {NAME}"],
    ),
    "dots in a name": (
        "msa: {}",
        "msa: {}\n  ..x: {}",
        [f"s.yaml:27: variants: the name '..x' contains '..'\n    allowed: {NAME}"],
    ),
    "long name": (
        "msa: {}",
        f"msa: {{}}\n  {'x' * 81}: {{}}",
        [f"s.yaml:27: variants: the name '{'x' * 78}… is 81 characters long\n    allowed: {NAME}"],
    ),
    "study name that climbs": (
        "name: msa\n",
        "name: ../../MSA\n",
        [
            "s.yaml:1: name: must be lower-case letters, digits "
            "and '-' (it becomes a folder), at most 80 characters, "
            "got '../../MSA'\n    try 'msa'"
        ],
    ),
    "study name that is taken": (
        "name: msa\n",
        "name: trials\n",
        ["s.yaml:1: name: 'trials' is a folder of the results tree itself\n    try 'trials-study'"],
    ),
    "key that is no text": (
        "msa: {}",
        "msa: {}\n  16: {}",
        ["s.yaml:27: variants: the key 16 is not text\n    write it in quotes: '16'"],
    ),
    "unknown mechanism": (
        "name: msa\n      args",
        "name: mssa\n      args",
        [
            "s.yaml:13: model.attention.name: 'mssa' is no attention mechanism\n"
            "    allowed: axial, cbam, coordinate, eca, grouped, linear, msa, se, selective-kernel, "
            "self-attention, timm:NAME, package.module:Class\n    did you mean 'msa'?"
        ],
    ),
    "unknown backbone": (
        "backbone: cnn",
        "backbone: vgg",
        [
            "s.yaml:10: model.backbone: 'vgg' is no backbone\n   "
            " allowed: cnn, resnet18, vgg16, torchvision:NAME, "
            "timm:NAME, package.module:function\n    did you mean 'vgg16'?"
        ],
    ),
    "impossible width": (
        "width: 0.5",
        "width: 0",
        ["s.yaml:11: model.args.width: must be a number greater than 0 and of at most 64, got 0"],
    ),
    "unknown source": (
        "fashion-mini",
        "fashion_mini",
        [
            "s.yaml:7: data.source: 'fashion_mini' is no source "
            "of images\n    allowed: digits, fashion-mini, "
            "fashion-mnist, cifar10, cifar100, image-folder, package.module:function\n"
            "    did you mean 'fashion-mini'?"
        ],
    ),
    "folder without a root": (
        "source: fashion-mini",
        "source: image-folder",
        [
            "s.yaml:7: data.source: the source 'image-folder' needs data.root, which is null\n"
            "    set data.root to the folder that holds train/ and test/"
        ],
    ),
    "unknown optimizer": (
        "name: adam,",
        "name: Adam,",
        [
            "s.yaml:19: train.optimizer.name: 'Adam' is no optimizer\n "
            f"   allowed: {OPTIMIZERS}\n    did you mean 'adam'?"
        ],
    ),
    "argument of another optimizer": (
        "lr: 1.0e-3",
        "lr: 1.0e-3, args: {momentum: 0.9}",
        [
            "s.yaml:19: train.optimizer.args.momentum: the optimizer 'adam' has no argument 'momentum'\n"
            "    allowed: betas, eps, amsgrad"
        ],
    ),
    "key of another schedule": (
        "patience: 3",
        "gamma: 0.5",
        [
            "s.yaml:20: train.schedule.gamma: the schedule 'plateau' "
            "has no 'gamma'\n    allowed: factor, patience\n"
            "    it belongs to 'step'; set train.schedule as a whole to change to another schedule"
        ],
    ),
    "switch that is no switch": (
        "channel: model.attention.args.channel\n",
        "channel: train.epochs\n",
        [
            f"s.yaml:35: designs[0]: train.epochs: must be a whole number, got false\n{SWITCHED}",
            f"s.yaml:35: designs[0]: train.epochs: must be a whole number, got true\n{SWITCHED}",
        ],
    ),
    "one setting for two switches": (
        "channel: model.attention.args.channel\n",
        "channel: model.attention.args.spatial\n",
        [
            "s.yaml:36: designs[0].switches.spatial: "
            "model.attention.args.spatial is switched by 'channel' already"
        ],
    ),
    "factor that joins names": (
        "      channel: model",
        "      a+b: model",
        [
            "s.yaml:35: designs[0].switches.a+b: 'a+b' contains "
            f"'+' or '=', which join names\n    allowed: {PART}"
        ],
    ),
    "cell with a name that is taken": (
        "msa: {}",
        "msa: {}\n  channel: {train.epochs: 3}",
        [
            "s.yaml:32: two different variants would be called 'channel'; the other is at s.yaml:27\n"
            "    rename the variant, or the factor that names the other"
        ],
    ),
    "analysis": (
        "{test: welch, correction: holm, margin: 0.5, level: 0.05}",
        "{test: welsh, margin: -1, level: 5}",
        [
            "s.yaml:37: analysis.test: 'welsh' is not allowed here\n    allowed: welch, paired, dunnett\n"
            "    did you mean 'welch'?",
            "s.yaml:37: analysis.margin: must be greater than 0, got -1",
            "s.yaml:37: analysis.level: must be less than 0.5, got 5",
        ],
    ),
    "claim of nobody": (
        "of: msa, against: baseline",
        "of: mas, against: msa",
        [
            "s.yaml:39: claims[0].of: there is no variant 'mas'\n "
            "   allowed: baseline, multi-scale, +channel, "
            "+spatial, msa, msa reduction=4, msa reduction=8, msa "
            "reduction=32, msa at=shallow, msa at=deep, none, "
            "channel, spatial, multi-scale+channel, multi-scale+spatial, channel+spatial, "
            "multi-scale+channel+spatial\n    did you mean 'msa'?"
        ],
    ),
    "claim without a bound": (
        "against: baseline, at_least: 0",
        "against: baseline",
        [
            "s.yaml:39: claims[0]: a claim has exactly one bound, got none\n"
            "    allowed: at_least, at_most, between"
        ],
    ),
    "claim with two bounds": (
        "against: baseline, at_least: 0",
        "against: baseline, at_least: 0, at_most: 1",
        [
            "s.yaml:39: claims[0]: a claim has exactly one bound, got at_least and at_most\n"
            "    allowed: at_least, at_most, between"
        ],
    ),
    "claim upside down": (
        "against: baseline, at_least: 0",
        "against: baseline, between: [2, 1]",
        ["s.yaml:39: claims[0].between: must be [low, high] with the lower number first, got [2, 1]"],
    ),
    "claim of another kind": (
        "kind: trend",
        "kind: trent",
        [
            "s.yaml:40: claims[1].kind: 'trent' is not allowed here\n"
            "    allowed: difference, ratio, trend, contrast, interaction\n    did you mean 'trend'?"
        ],
    ),
    "claim on an unknown metric": (
        "over: reduction, at_most",
        "over: reduction, metric: accurracy, at_most",
        ["s.yaml:40: claims[1].metric: the key 'metric' is given twice on line 40\n    keep one of the two"],
    ),
    "claim twice": (
        "id: C5i",
        "id: C1",
        ["s.yaml:42: claims[3].id: the claim 'C1' stands at s.yaml:39 already"],
    ),
    "trend over places": (
        "over: reduction",
        "over: at",
        [
            "s.yaml:40: claims[1].over: a trend needs numbers, but 'at' has ['shallow', 'deep']\n"
            "    claim a difference between two of its variants instead"
        ],
    ),
    "interaction of an unknown factor": (
        "of: [channel, spatial]",
        "of: [chanel, spatial]",
        [
            "s.yaml:42: claims[3].of[0]: no factorial design has the factor 'chanel'\n"
            "    allowed: multi-scale, channel, spatial\n    did you mean 'channel'?"
        ],
    ),
    "control to nowhere": (
        LAST,
        f"controls: [{{match: parms, to: msa}}]\n{LAST}",
        [
            "s.yaml:37: controls[0].match: 'parms' is not allowed here\n "
            "   allowed: params, macs\n    did you mean 'params'?"
        ],
    ),
    "tune over an unknown setting": (
        "space: {model.attention.args.reduction: [4, 8, 16, 32]}",
        "space: {model.attention.args.reductio: [4]}",
        [
            "s.yaml:43: tune.space: model.attention.args.reductio: "
            "the attention 'msa' has no argument 'reductio'\n"
            f"    allowed: {MSA_ARGS}\n    did you mean 'reduction'?"
        ],
    ),
    "tune over nothing, and log of zero": (
        "space: {model.attention.args.reduction: [4, 8, 16, 32]}",
        "space: {train.epochs: [], train.optimizer.lr: {low: 0, high: 1, log: true}}",
        [
            "s.yaml:43: tune.space.train.epochs: must not be empty: give at least one value",
            "s.yaml:43: tune.space.train.optimizer.lr.low: must be greater than 0 on a log scale, got 0",
        ],
    ),
    "tune for an unknown objective": (
        "objectives: {accuracy: maximize}",
        "objectives: {acuracy: maximise}",
        [
            f"s.yaml:43: tune.objectives.acuracy: 'acuracy' is not allowed here\n    allowed: {METRICS}\n"
            "    did you mean 'accuracy'?",
            "s.yaml:43: tune.objectives.acuracy: 'maximise' is "
            "not allowed here\n    allowed: maximize, minimize\n"
            "    did you mean 'maximize'?",
        ],
    ),
    "matrix axis that is not there": (
        LAST,
        "matrix:\n  - from: msa\n    set: {model.attention.args.reduction: [4, 8]}\n"
        f"    exclude: [{{reducton: 4}}]\n{LAST}",
        [
            "s.yaml:40: matrix[0].exclude[0].reducton: there is no axis 'reducton' in this entry\n"
            "    allowed: reduction\n    did you mean 'reduction'?"
        ],
    ),
    "YAML syntax": (
        "[0, 1, 2, 3, 4]",
        "[0, 1",
        [
            "s.yaml:5: is not valid YAML: expected ',' or ']', "
            "but got ':' (while parsing a flow sequence, line 4)"
        ],
    ),
    "colon in a text": (
        "title: What",
        "title: Answer: what",
        [
            "s.yaml:2: is not valid YAML: mapping values are not allowed here\n"
            "    a text that contains ': ' must stand in quotes"
        ],
    ),
    "tab": (
        "  data:\n",
        "\tdata:\n",
        ["s.yaml:6: a tab stands where only spaces are allowed\n    indent with spaces"],
    ),
    "huge whole number": (
        "epochs: 4",
        f"epochs: {'9' * 10_000}",
        [
            "s.yaml:17: defaults.train.epochs: the number 99999999999999999999… (10000 digits) is too large: "
            "whole numbers end at 9223372036854775807"
        ],
    ),
    "too many epochs": (
        "epochs: 4",
        "epochs: 10000000",
        ["s.yaml:17: train.epochs: must be at most 100000, got 10000000"],
    ),
    "number beyond all floats": (
        "lr: 1.0e-3",
        "lr: 1e999",
        ["s.yaml:19: defaults.train.optimizer.lr: 1e999 is not a finite number"],
    ),
    "not a number": (
        "lr: 1.0e-3",
        "lr: .nan",
        ["s.yaml:19: defaults.train.optimizer.lr: .nan is not a finite number"],
    ),
}


@pytest.mark.parametrize("case", EDITED)
def test_one_fault_in_a_good_study(case: str, folder: Path) -> None:
    old, new, expected = EDITED[case]
    assert old in GOOD
    assert problems(folder, GOOD.replace(old, new, 1)) == expected


FILES: dict[str, tuple[str | bytes, list[str]]] = {
    "empty": ("", ["s.yaml: the file is empty\n    `ablate init` writes a study to start from"]),
    "comments only": (
        "# soon\n",
        ["s.yaml: the file is empty\n    `ablate init` writes a study to start from"],
    ),
    "list": ("- a\n", ["s.yaml:1: a study is a mapping (key: value), but the file holds a list"]),
    "text": ("hello\n", ["s.yaml:1: a study is a mapping (key: value), but the file holds a single value"]),
    "two documents": (
        GOOD + "---\nname: b\n",
        [
            "s.yaml:44: the file holds more than one YAML document\n "
            "   keep one study a file; remove the second '---'"
        ],
    ),
    "not UTF-8": (
        GOOD.replace("What", "Où").encode("latin-1"),
        ["s.yaml:2: is not UTF-8: byte 0xf9 at offset 18\n    save the file as UTF-8"],
    ),
    "control character": ("name: a\nb: \x01\n", ["s.yaml:2: the character U+0001 is not allowed in YAML"]),
    "alias of itself": ("a: &a [*a]\n", ["s.yaml:1: an alias contains itself"]),
    "merge of itself": ("a: &a\n  <<: *a\n", ["s.yaml:1: a merge key '<<' contains itself"]),
    "undefined alias": ("a: *b\n", ["s.yaml:1: is not valid YAML: found undefined alias 'b'"]),
    "multiplying aliases": (
        "a0: &a0 [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n"
        + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)),
        ["s.yaml:1: expands to more than 100,000 values; are aliases multiplying?"],
    ),
    "deep": ("[" * 5000, ["s.yaml: is nested too deeply"]),
    "large": ("# " + "x" * 1_000_000, ["s.yaml: is larger than 1,000,000 bytes; no study file is"]),
    "tag": (
        "name: !!python/name:os.system x\n",
        [
            "s.yaml:1: name: the tag 'tag:yaml.org,2002:python/name:os.system' is not supported",
            "s.yaml:1: baseline: is missing\n"
            "    add a line 'baseline: NAME' with the variant that every other is compared with",
            "s.yaml:1: variants: there are no variants\n"
            "    add the baseline at least: variants: {baseline: {model.attention: null}}",
        ],
    ),
    "nothing but a name": (
        "name: a\n",
        [
            "s.yaml:1: baseline: is missing\n"
            "    add a line 'baseline: NAME' with the variant that every other is compared with",
            "s.yaml:1: variants: there are no variants\n"
            "    add the baseline at least: variants: {baseline: {model.attention: null}}",
        ],
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_study(case: str, folder: Path) -> None:
    content, expected = FILES[case]
    assert problems(folder, content) == expected


def test_a_repeated_key_does_not_hide_what_else_is_wrong(folder: Path) -> None:
    variants = "  b: {}\n  c: {train.epoch: 3}\n  c: {train.epochs: 0}\n"
    content = f"name: a\nbaseline: b\nseeds: [.inf]\nvariants:\n{variants}"
    found = [problem.splitlines()[0] for problem in problems(folder, content)]
    assert found == [
        "s.yaml:3: seeds[0]: .inf is not a finite number",
        "s.yaml:6: variants.c: train.epoch: no such setting",
        "s.yaml:7: variants.c: the key 'c' is given on line 6 and on line 7",
    ]


def test_a_directory(folder: Path) -> None:
    (folder / "studies").mkdir()
    (folder / "studies" / "msa.yaml").write_text(GOOD)
    with pytest.raises(StudyError) as caught:
        load_study("studies")
    assert [str(p) for p in caught.value.problems] == [
        "studies: is a directory, not a study file\n    allowed: studies/msa.yaml"
    ]


def test_a_file_that_is_not_there(folder: Path) -> None:
    (folder / "studies").mkdir()
    (folder / "studies" / "msa.yaml").write_text(GOOD)
    with pytest.raises(StudyError) as caught:
        load_study("mas.yaml")
    assert [str(p) for p in caught.value.problems] == [
        "mas.yaml: there is no such file\n    did you mean 'studies/msa.yaml'?"
    ]


# KEY=VALUE -> the problem
OVERRIDES = {
    "train.epoch=2": f"train.epoch: no such setting\n    allowed: {TRAIN}\n    did you mean 'train.epochs'?",
    "epochs=2": "epochs: no such setting\n    allowed: data.…, model.…, "
    "train.…, name, title, scope, baseline, seeds, analysis, "
    "defaults, pretraining, variants, sweeps, designs, matrix, controls, claims, tune\n"
    "    did you mean 'train.epochs'?",
    "train.epochs=many": "train.epochs: must be a whole number, got 'many'",
    "train.epochs": "'train.epochs' is no override\n    write KEY=VALUE, such as train.epochs=2",
    "train.epochs=[": "train.epochs: is not valid YAML: expected the node content, but found '<stream end>' "
    "(while parsing a flow node, line 1)",
    "train.epochs=.inf": "train.epochs: .inf is not a finite number",
    "train=3": "train: a whole section cannot be set at once\n  "
    "  write dotted settings, such as 'train.epochs'",
    "data.source=image-folder": "data.source: the source 'image-folder' needs data.root, which is null\n"
    "    set data.root to the folder that holds train/ and test/",
    "baseline=none": f"baseline: there is no variant 'none'\n    allowed: {VARIANTS}",
    "seeds=0,1": "seeds: must be a list of whole numbers, or the "
    "number of seeds, got '0,1'\n    write seeds: [0,1]",
    "analysis.margn=1": "analysis.margn: unknown key 'margn'\n    allowed: test, correction, margin, level\n"
    "    did you mean 'margin'?",
    "sweeps.0=1": "sweeps.0: only sweeps as a whole can be set here\n    write sweeps=VALUE",
    "model.attention.args.reduction=0": "model.attention.args.reduction: must "
    "be a whole number of at least 1, got 0",
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_a_wrong_override_says_that_it_came_from_the_command_line(override: str, folder: Path) -> None:
    assert problems(folder, GOOD, (override,)) == [f"command line: {OVERRIDES[override]}"]


MANY = """\
name: Many Faults
baseline: base
seeds: [1, 1]
extra: 1
defaults:
  data: {fraction: 2}
  model: {attention: {name: se, at: [block1], args: {ratio: 4}}}
  train: {epochs: 0, optimiser: {lr: 1}}
variants:
  baseline: {model.attention: null}
  a/b: {}
  half: {train.epochs: 2, model.attention.args.reduction: 0}
  lost: {extends: found}
sweeps:
  - {from: half, set: train.batch_size, values: [0]}
  - 7
designs:
  - {kind: factorial, from: lots, switches: {}}
claims:
  - {id: A, kind: ratio, of: half, against: half, at_least: 1}
tune: {trials: 3}
"""


def test_all_faults_of_a_study_are_reported_at_once(folder: Path) -> None:
    found = problems(folder, MANY, ("train.epochs=-1", "nonsense"))
    assert [text.split("\n")[0] for text in found] == [
        "command line: 'nonsense' is no override",
        "command line: train.epochs: must be at least 1, got -1",
        "s.yaml:1: name: must be lower-case letters, digits "
        "and '-' (it becomes a folder), at most 80 characters, "
        "got 'Many Faults'",
        "s.yaml:2: baseline: there is no variant 'base'",
        "s.yaml:3: seeds[1]: the seed 1 is given twice",
        "s.yaml:4: extra: unknown key 'extra'",
        "s.yaml:6: data.fraction: must be at most 1, got 2",
        "s.yaml:7: model.attention.args.ratio: the attention 'se' has no argument 'ratio'",
        "s.yaml:8: train.optimiser: unknown key 'optimiser'",
        "s.yaml:11: variants: the name 'a/b' contains '/'",
        "s.yaml:12: variants.half: model.attention.args.reduction: "
        "must be a whole number of at least 1, got 0",
        "s.yaml:13: variants.lost.extends: there is no variant 'found'",
        "s.yaml:15: sweeps[0]: train.batch_size: must be at least 1, got 0",
        "s.yaml:16: sweeps[1]: must be a mapping (key: value), got 7",
        "s.yaml:18: designs[0].switches: must not be empty, got {}",
        "s.yaml:20: claims[0].against: 'half' is compared with itself",
        "s.yaml:21: tune.space: is missing",
    ]
