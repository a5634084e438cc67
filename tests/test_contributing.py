"""CONTRIBUTING.md to the letter: its files as they stand in a folder of their own, its commands in order."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SECTION = "A module, a backbone or a data set of your own"


def section() -> str:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.partition(f"## {SECTION}\n")[2].partition("\n## ")[0]


def files() -> dict[str, str]:
    """{file name: its text}: every block of code but the commands, named by its first line."""
    named = {}
    for language, code in re.findall(r"```(\w+)\n(.*?)```", section(), flags=re.DOTALL):
        if language != "sh":
            name = re.match(r"# (\S+\.(?:py|yaml))\n", code)
            assert name, f"a block of {SECTION!r} does not say which file it is:\n{code}"
            assert name[1] not in named, f"{name[1]} is written twice"
            named[name[1]] = code
    return named


def commands() -> list[list[str]]:
    [lines] = re.findall(r"```sh\n(.*?)```", section(), flags=re.DOTALL)
    return [shlex.split(line) for line in lines.splitlines()]


def ablate(folder: Path, *arguments: str) -> str:
    """Standard output of ``ablate ARGUMENTS`` in `folder`, with nothing on the path but the package."""
    done = subprocess.run(
        [sys.executable, "-m", "ablate", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "PYTHONSAFEPATH": "1"},
    )
    assert done.returncode == 0, f"ablate {shlex.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder in which the section was followed, and what each of its commands printed."""
    folder = tmp_path_factory.mktemp("newcomer")
    for name, code in files().items():
        (folder / name).write_text(code, encoding="utf-8")
    printed = {}
    for program, verb, *arguments in commands():
        assert program == "ablate"
        quiet = ["-q"] if verb == "run" else []
        printed[verb] = ablate(folder, verb, *arguments, *quiet)
    return folder, printed


def test_the_section_has_a_module_a_backbone_data_and_a_study() -> None:
    assert [Path(name).suffix for name in files()] == [".py", ".py", ".py", ".yaml"]
    study = files()["mine.yaml"]
    for name in files():
        assert name.endswith(".yaml") or f'"{name.removesuffix(".py")}:' in study, (
            f"the study leaves {name} out"
        )


def test_the_study_is_run_and_reported(followed: tuple[Path, dict[str, str]]) -> None:
    folder, printed = followed
    assert list(printed) == ["validate", "plan", "run", "report"]
    plan = json.loads((folder / "results/mine/plan.json").read_text(encoding="utf-8"))
    records = [json.loads(path.read_text()) for path in (folder / "results/trials").glob("*/record.json")]
    assert len(records) == len(plan["variants"]) == 4
    assert {record["status"] for record in records} == {"done"}
    report = (folder / "results/mine/report.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (plain|mine|inside|ready) \| 1 \| (\S+)", report, flags=re.MULTILINE))
    assert set(rows) == {"plain", "mine", "inside", "ready"}
    assert all(float(accuracy) > 65 for accuracy in rows.values()), "half of the stripes is chance"
    assert "block1.conv2(8)" in printed["plan"], "inside the block, before the addition"


def test_a_changed_module_is_trained_again(followed: tuple[Path, dict[str, str]]) -> None:
    folder, _ = followed
    trials = folder / "results/trials"
    before = {path.name for path in trials.iterdir()}
    with (folder / "mymodules.py").open("a", encoding="utf-8") as file:
        file.write("\n# changed\n")
    ablate(folder, "run", "mine.yaml", "-q", "--executor", "inline")
    after = {path.name for path in trials.iterdir()}
    assert before < after
    assert len(after - before) == 2, "the two variants that use it, and no other"
