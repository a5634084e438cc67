"""The command line: what it prints, its exit codes, and what only a network can tell of a study."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ablate.cli import main

REPOSITORY = Path(__file__).resolve().parent.parent.parent

# CIFAR's shape without CIFAR: what S1 and S2 cost depends on the shape and the number of classes alone.
COLOURS = """
import numpy as np

def colours(root):
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    images = rng.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)
    return images, labels, images[:50] // 2, labels[:50]
"""
S1 = """\
name: s1
baseline: baseline
seeds: 1
defaults:
  data: {source: "colours:colours"}
  model:
    attention: {name: se, at: ["block*.relu"]}
variants:
  baseline: {model.attention: null}
  se: {}
  msa: {model.attention: {name: msa, at: [block2, block3]}}
"""


def ablate(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `ablate …`, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "colours", raising=False)
    (tmp_path / "colours.py").write_text(COLOURS)
    (tmp_path / "s1.yaml").write_text(S1)
    return tmp_path


def test_plan_gives_the_known_answers_of_s1_and_s2_without_training(folder: Path) -> None:
    code, out, _ = ablate("plan", "s1.yaml", "--format", "json")
    plan = json.loads(out)
    variants = {variant["name"]: variant for variant in plan["variants"]}

    # S1: three biased convolutions with batch norm, then 2048 -> 512 -> 10.
    convolutions = [(3, 32, 32), (32, 64, 16), (64, 128, 8)]  # channels in, out, side of the map
    parameters = sum(9 * i * o + o + 2 * o for i, o, _ in convolutions) + 2048 * 512 + 512 + 512 * 10 + 10
    macs = sum(9 * i * o * side**2 for i, o, side in convolutions) + 2048 * 512 + 512 * 10
    assert (variants["baseline"]["param_count"], variants["baseline"]["macs"]) == (parameters, macs)
    assert (parameters, macs) == (1_147_914, 11_375_616)

    gates = sum(2 * c * (c // 16) for c in (32, 64, 128))  # parameters, and as many MACs
    assert variants["se"]["param_count"] == parameters + gates == 1_150_602
    assert variants["se"]["macs"] == macs + gates
    assert [m["path"] for m in variants["se"]["attention_modules"]] == [
        "block1.relu",
        "block2.relu",
        "block3.relu",
    ]

    modules = {m["path"]: (m["channels"], m["param_count"]) for m in variants["msa"]["attention_modules"]}
    assert modules == {"block2": (64, 10_532), "block3": (128, 41_396)}
    extra = sum(side**2 * (38 * c * (c // 16) + 147) + 2 * c * (c // 16) for c, side in ((64, 8), (128, 4)))
    assert variants["msa"]["macs"] == macs + extra

    assert code == 0 and (plan["study"], plan["trials"], plan["pending"]) == ("s1", 3, 3)
    assert not (folder / "results").exists(), "a plan writes nothing"


PLACES = {
    "matches nothing": ("[blok2]", ["s1.yaml:11", "'blok2'", "did you mean 'block2'"]),
    "glob matches nothing": ('["layer*"]', ["s1.yaml:11", "'layer*'", "block1, block2, block3"]),
    "one of several": ("[block1, block9]", ["s1.yaml:11", "'block9'"]),
    "no feature map": ("[head.hidden]", ["s1.yaml:11", "'head.hidden'", "(2, 512)", "(B, C, H, W)"]),
}


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("case", PLACES)
def test_a_place_where_nothing_can_sit_is_an_error_with_its_line(
    case: str, command: str, folder: Path
) -> None:
    at, expected = PLACES[case]
    text = (folder / "s1.yaml").read_text().replace("msa, at: [block2, block3]", f"msa, at: {at}")
    (folder / "s1.yaml").write_text(text)
    code, _, err = ablate(command, "s1.yaml")
    assert code == 2
    assert "1 problem found; nothing was run" in err
    for words in expected:
        assert words in err
    assert not (folder / "results").exists()


def test_all_places_that_fail_are_named_at_once(folder: Path) -> None:
    text = (
        (folder / "s1.yaml")
        .read_text()
        .replace("[block2, block3]", "[up, down]")
        .replace("block*.relu", "none")
    )
    (folder / "s1.yaml").write_text(text)
    code, _, err = ablate("plan", "s1.yaml")
    assert code == 2
    assert "3 problems found" in err
    assert all(f"'{pattern}'" in err for pattern in ("up", "down", "none"))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ("model.weights=default", "there are no default weights for 'cnn'"),
        ("model.weights=nowhere.pth", "'nowhere.pth': there is no such file"),
        ("model.backbone=nowhere.nets:net", "there is no module 'nowhere.nets'"),
        ("model.backbone=torchvision:resnet5", "did you mean 'resnet50'"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is_trained(
    edit: str, words: str, folder: Path
) -> None:
    assert ablate("validate", "s1.yaml", edit)[0] == 0, "the file itself is right"
    code, _, err = ablate("run", "s1.yaml", edit, "model.args={}")
    assert (code, (folder / "results").exists()) == (2, False)
    assert words in " ".join(err.split())


def test_run_twice_then_report_and_status(folder: Path) -> None:
    short = ("seeds=2", "train.epochs=1", "train.batch_size=32", "model.args.width=0.1")
    code, out, _ = ablate("run", "s1.yaml", *short, "--only", "[bs]*", "--executor", "inline")
    assert code == 0
    assert "results/s1/report.md" in out
    assert "Which variants beat baseline?" in out, "the answer is printed, not only its place"
    tree = {path: path.stat().st_mtime_ns for path in Path("results/trials").rglob("record.json")}
    assert len(tree) == 4
    code, out, _ = ablate("run", "s1.yaml", *short, "--only", "[bs]*", "--executor", "inline")
    assert code == 0
    assert "nothing" in out, "it says that nothing was left"
    assert tree == {path: path.stat().st_mtime_ns for path in Path("results/trials").rglob("record.json")}

    code, out, _ = ablate("report", "--format", "json")
    report = json.loads(out)
    rows = {row["name"]: row for row in report["variants"]}
    assert (code, report["study"], report["baseline"], report["metric"]) == (0, "s1", "baseline", "accuracy")
    assert [rows[name]["n"] for name in ("baseline", "se", "msa")] == [2, 2, 0]
    assert rows["se"]["verdict"] in ("exploratory", "no-op"), "two seeds never make a verdict"
    assert [row["variant"] for row in report["incomplete"]] == ["msa"]
    for study in ("s1", "s1.yaml", "results/s1"):
        assert ablate("report", study, "--format", "json")[:2] == (0, out)
    written = Path("results/s1/report.md").read_text()
    assert ablate("report", "--format", "markdown")[1] == written

    code, out, _ = ablate("status")
    assert code == 0
    assert "4 done, 0 running, 0 failed, 2 pending of 6 trials" in out


def test_a_failed_trial_is_reported_and_exits_1(folder: Path) -> None:
    (folder / "broken.py").write_text(
        "from torch import nn\n"
        "class Broken(nn.Module):\n"
        "    def __init__(self, channels):\n        super().__init__()\n"
        "    def forward(self, x):\n"
        "        if len(x) > 2:  # which no plan shows it\n"
        "            raise RuntimeError('broken on purpose')\n"
        "        return x\n"
    )
    text = (
        folder / "s1.yaml"
    ).read_text() + '  broken: {model.attention: {name: "broken:Broken", at: [block3]}}\n'
    (folder / "s1.yaml").write_text(text)
    short = ("train.epochs=1", "model.args.width=0.1", "--executor", "inline", "--only", "b*")
    code, out, err = ablate("run", "s1.yaml", *short)
    assert code == 1
    assert "broken on purpose" in out + err
    report = json.loads(ablate("report", "--format", "json")[1])
    rows = {row["name"]: row for row in report["variants"]}
    assert (rows["broken"]["failed"], rows["broken"]["n"], rows["baseline"]["n"]) == (1, 0, 1)
    assert "broken on purpose" in Path("results/s1/report.md").read_text()
    assert ablate("run", "s1.yaml", "train.epochs=1", "model.args.width=0.1", "--only", "broken")[0] == 1


def test_init_writes_a_study_that_validates_and_never_overwrites(folder: Path) -> None:
    assert ablate("init", "mine.yaml")[0] == 0
    assert (
        (folder / "mine.yaml").read_text().startswith("# yaml-language-server: $schema=ablate.schema.json\n")
    )
    assert json.loads((folder / "ablate.schema.json").read_text())["type"] == "object"
    assert ablate("validate", "mine.yaml")[0] == 0
    code, _, err = ablate("init", "mine.yaml")
    assert code == 2
    assert "mine.yaml" in err and "exists already" in err


def test_ls_names_everything_a_study_can_name(folder: Path) -> None:
    assert {"se", "msa"} <= {
        line.split()[0] for line in ablate("ls", "attention")[1].splitlines() if line.strip()
    }
    assert "cnn" in ablate("ls", "backbones")[1]
    assert "fashion-mini" in ablate("ls", "data")[1]
    assert "s1.yaml" in ablate("ls", "studies")[1]
    code, _, err = ablate("ls", "backbone")
    assert code == 2
    assert "backbones" in err


def test_doctor_says_where_things_lie(folder: Path) -> None:
    code, out, _ = ablate("doctor", "-o", "here")
    assert code == 0
    assert "no problem found" in out
    assert str(folder / "here") in out and "torchvision" in out and "cores" in out


def test_wrong_arguments_exit_2(folder: Path) -> None:
    for arguments in (
        ["run"],
        ["run", "s1.yaml", "--seeds", "a"],
        ["report", "--format", "pdf"],
        ["plan", "s1.yaml", "--only", "nobody"],
    ):
        code, _, err = ablate(*arguments)
        assert code == 2, arguments
        assert err


def test_a_reader_that_leaves_early_is_no_fault(folder: Path) -> None:
    command = f"{sys.executable} -m ablate ls data | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize("study", sorted((REPOSITORY / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_study_is_valid(study: Path, folder: Path) -> None:
    code, out, err = ablate("validate", str(study))
    assert (code, err) == (0, "")
    assert "is valid" in out
