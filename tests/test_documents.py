"""What the documents promise holds: their studies, their code, their links and their figures."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from ablate.cli import main
from ablate.spec import load_study
from ablate.variants import expand

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"), *(REPOSITORY / "results").glob("*.md")]
)


def blocks(document: str, language: str) -> list[str]:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mymodules", raising=False)
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_of_a_document_leads_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links {target}"


def test_the_readmes_study_expands_as_it_says(folder: Path) -> None:
    [study] = [block for block in blocks("README.md", "yaml") if "baseline: baseline" in block]
    Path("my-study.yaml").write_text(study, encoding="utf-8")
    names = [variant.name for variant in expand(load_study("my-study.yaml")).variants]
    assert names[:3] == ["baseline", "se", "msa"]
    assert "msa reduction=4" in names


def test_the_study_of_the_reference_is_valid_and_shows_the_defaults(folder: Path) -> None:
    [whole] = [block for block in blocks("docs/study-file.md", "yaml") if block.startswith("name: ")]
    Path("whole.yaml").write_text(whole, encoding="utf-8")
    study = load_study("whole.yaml")
    bare = "name: bare\nbaseline: b\nvariants: {b: {}}\n"
    Path("bare.yaml").write_text(bare, encoding="utf-8")
    plain = load_study("bare.yaml")
    assert (study.seeds, study.analysis) == (plain.seeds, plain.analysis)
    assert study.defaults.data == plain.defaults.data
    assert study.defaults.train == plain.defaults.train
    assert study.defaults.model.model_copy(update={"attention": None}) == plain.defaults.model


@pytest.mark.parametrize("heading", ["## Sweeps", "## Designs", "## Matrices"])
def test_the_examples_of_the_reference_expand(heading: str, folder: Path) -> None:
    text = (REPOSITORY / "docs/study-file.md").read_text(encoding="utf-8")
    part = re.findall(rf"{heading}\n\n```yaml\n(.*?)```", text, flags=re.DOTALL)
    [whole] = [block for block in blocks("docs/study-file.md", "yaml") if block.startswith("name: ")]
    study = {**yaml.safe_load(whole), **yaml.safe_load(part[0])}
    Path("part.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    names = [variant.name for variant in expand(load_study("part.yaml")).variants]
    assert len(names) > 3
    for name in re.findall(r'"(msa [^"]+=[^"]+)"', text):
        if heading == "## Matrices" and " at=" in name and "reduction" in name:
            assert name in names


def test_a_module_a_backbone_and_data_by_contributing_to_the_letter(folder: Path) -> None:
    """A file outside the package with every block of CONTRIBUTING.md as it stands, trained from YAML."""
    code = blocks("CONTRIBUTING.md", "python")
    assert len(code) == 3
    Path("mymodules.py").write_text("\n\n".join(code), encoding="utf-8")
    defaults, variants = {}, {"plain": {}}
    for block in map(yaml.safe_load, blocks("CONTRIBUTING.md", "yaml")):
        defaults.update(block.get("defaults", {}))
        variants.update(block.get("variants", {}))
    assert set(defaults) == {"model", "data"} and "mine" in variants
    variants["mine"]["model.attention"]["at"] = ["0"]  # the example's places are those of `cnn`
    study = {
        "name": "mine",
        "baseline": "plain",
        "seeds": 1,
        "defaults": {
            **defaults,
            "train": {"epochs": 2, "batch_size": 50, "optimizer": {"name": "adam", "lr": 0.01}},
        },
        "variants": variants,
    }
    Path("mine.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    assert run("run", "mine.yaml", "--executor", "inline", "--quiet") == 0
    rows = re.findall(
        r"^\| (plain|mine) \| 1 \| (\S+)", Path("results/mine/report.md").read_text(), flags=re.M
    )
    assert {name for name, _ in rows} == {"plain", "mine"}
    assert all(float(accuracy) > 60 for _, accuracy in rows), "stripes are easy"

    before = len(list(Path("results/trials").iterdir()))
    with Path("mymodules.py").open("a", encoding="utf-8") as file:
        file.write("\n# changed\n")
    assert run("run", "mine.yaml", "--executor", "inline", "--quiet", "--dry-run") == 0
    assert run("run", "mine.yaml", "--executor", "inline", "--quiet") == 0
    assert len(list(Path("results/trials").iterdir())) == 2 * before, "a changed module is trained again"


def test_the_readmes_table_is_that_of_the_report_it_names() -> None:
    """Every row of the README's result stands, number for number, in the committed report of that run."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    report = (REPOSITORY / "docs/first-study/report.md").read_text(encoding="utf-8")
    shown = text.partition("## What it answers")[2].partition("\n## ")[0]
    known = {
        tuple(cell.strip() for cell in line.split("|"))
        for line in report.splitlines()
        if line.startswith("| ")
    }
    rows = [
        tuple(cell.strip() for cell in line.split("|"))
        for line in shown.splitlines()
        if line.startswith("| ")
    ]
    assert len(rows) > 4
    for row in rows:
        assert row in known or set("".join(row)) <= set(":- "), row
    for line in shown.splitlines():
        if line.startswith("> - "):
            assert line.removeprefix("> ") in report
