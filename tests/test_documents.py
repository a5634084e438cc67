"""What the documents promise holds: their studies, their code, their links and their figures."""

from __future__ import annotations

import functools
import operator
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ablate.errors import AblateError
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
    return tmp_path


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


def _examples() -> list[tuple[str, str]]:
    """(document, block) of every YAML block; those of CONTRIBUTING are run by a test of their own."""
    pages = [str(path.relative_to(REPOSITORY)) for path in DOCUMENTS if path.name != "CONTRIBUTING.md"]
    return [(page, block) for page in pages for block in blocks(page, "yaml")]


def _whole_study(example: dict[str, Any]) -> dict[str, Any]:
    """A part of a study, completed: settings as defaults, lists laid over the reference with its own."""
    head = {"name": "example", "baseline": "b", "variants": {"b": {}}}
    if example.keys() <= {"data", "model", "train"}:
        return head | {"defaults": example}
    if "variants" in example:
        return head | {"baseline": next(iter(example["variants"]))} | example
    reference = [yaml.safe_load(block) for block in blocks("docs/study-file.md", "yaml")]
    lists = [part for part in reference if part.keys() <= {"sweeps", "designs", "matrix"}]
    return functools.reduce(operator.or_, [reference[0], *lists, example])


@pytest.mark.parametrize(("document", "block"), _examples())
def test_every_example_is_valid_where_it_would_stand(document: str, block: str, folder: Path) -> None:
    study = _whole_study(yaml.safe_load(block))
    Path("example.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    assert expand(load_study("example.yaml")).variants


@pytest.mark.parametrize("attention", [True, False], ids=["with attention", "without"])
@pytest.mark.parametrize("block", blocks("docs/training.md", "yaml"))
def test_the_recipes_of_the_training_page_fit_their_networks(
    block: str, attention: bool, folder: Path
) -> None:
    from ablate.trial import inspect_variant

    example = yaml.safe_load(block)
    model = {"attention": {"name": "se", "at": ["block2", "block3"]}} | example.pop("model", {})
    model |= {} if attention else {"attention": None}
    study = {"name": "s", "baseline": "b", "variants": {"b": {}}, "defaults": {"model": model, **example}}
    Path("s.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    settings = load_study("s.yaml").defaults
    if not attention and any(stage.train == ("attention",) for stage in settings.train.stages):
        with pytest.raises(AblateError, match=r"train\.stages of its own"):
            inspect_variant(settings, (3, 32, 32), 10)
    else:
        assert inspect_variant(settings, (3, 32, 32), 10).param_count


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
