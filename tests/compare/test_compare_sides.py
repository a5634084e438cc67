"""Two variants, two studies, two trees: the verdicts of a report, and what else tells the two apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from ablate.cli import app
from ablate.compare import Compared, compare_sides, find_sides, render_json, render_text
from ablate.errors import AblateError, StoreError
from ablate.record import Environment, PlannedVariant, StudyPlan, TrialMetrics, TrialRecord
from ablate.report import build_report
from ablate.store import Store

IMAGES = 2000
MACHINE = Environment(
    ablate="0.1.0",
    python="3.11.9",
    torch="2.6.0",
    numpy="2.1.0",
    platform="Linux",
    machine="box-cpu",
    cpu="A CPU",
    cpu_count=2,
    threads=1,
    device="cpu",
    device_name="A CPU",
)
ANALYSIS = {"test": "welch", "correction": "holm", "margin": 0.5, "level": 0.05}


def identifier(*parts: Any) -> str:
    return "".join(f"{ord(letter):02x}" for letter in "-".join(map(str, parts)))[-32:].rjust(16, "0")


class Study:
    """A planned study in a results tree. Trials of one name, seed and settings are one trial everywhere."""

    def __init__(self, root: Path, name: str = "short", *, baseline: str = "baseline", **plan: Any) -> None:
        self.store, self.name, self.baseline, self.options = Store(root), name, baseline, plan
        self.variants: list[PlannedVariant] = []

    def add(
        self,
        name: str,
        scores: Mapping[int, float],
        *,
        epochs: int = 4,
        machine: Environment = MACHINE,
        wall_s: float = 60.0,
        salt: int = 0,
        aliases: tuple[str, ...] = (),
    ) -> None:
        """salt: another outcome of the same trials, as of a machine that is not deterministic."""
        trials = {seed: identifier(name, epochs, seed) for seed in (scores or {0: 0.0})}
        self.variants.append(
            PlannedVariant(
                name=name,
                aliases=aliases,
                id=identifier(name, epochs),
                settings={},
                cost_id=identifier("cost", name),
                trials=trials,
            )
        )
        for seed, score in scores.items():
            self._write(trials[seed], seed, score, epochs, machine, wall_s, salt)

    def _write(
        self, trial: str, seed: int, score: float, epochs: int, machine: Environment, wall_s: float, salt: int
    ) -> None:
        label = np.arange(IMAGES) % 10
        rng = np.random.default_rng([seed, salt, *trial.encode()])
        wrong = rng.permutation(IMAGES)[round(IMAGES * score / 100) :]
        predicted = label.copy()
        predicted[wrong] = (label[wrong] + 1) % 10
        paths = self.store.trial(trial)
        paths.folder.mkdir(parents=True, exist_ok=True)
        arrays = {"label": label, "predicted": predicted, "predicted_best": predicted, "index": label * 0}
        np.savez(paths.predictions, probability=np.full(IMAGES, 0.5, np.float32), **arrays)
        rest = dict.fromkeys(("accuracy_best", "validation_accuracy", "train_accuracy"), score)
        losses = dict.fromkeys(("test_loss", "validation_loss", "train_loss"), 0.1)
        self.store.write_trial(
            TrialRecord(
                id=trial,
                variant_id=trial[:12],
                seed=seed,
                status="done",
                classes=10,
                test_count=IMAGES,
                identity={"seed": seed, "settings": {"train": {"epochs": epochs}}},
                metrics=TrialMetrics(accuracy=score, best_epoch=1, **rest, **losses),
                environment=machine,
                started="2025-01-01T00:00:00Z",
                wall_s=wall_s,
            )
        )

    def plan(self) -> Study:
        seeds = tuple(sorted({seed for each in self.variants for seed in each.trials}))
        plan = {"analysis": ANALYSIS, "data": {"fingerprint": "f"}, "workers": 2} | self.options
        self.store.write_plan(
            StudyPlan(
                study=self.name,
                baseline=self.baseline,
                seeds=seeds,
                variants=tuple(self.variants),
                analysis_hash="0",
                planned="2025-01-01T00:00:00Z",
                recipe={},
                **plan,
            )
        )
        self.store.write_last(self.name)
        return self


def even(mean: float, n: int = 5, step: float = 0.2) -> dict[int, float]:
    return {seed: round(mean + step * (2 * seed - n + 1) / 2, 4) for seed in range(n)}


def compared(root: Path, of: str, against: str, study: str | None = None) -> Compared:
    return compare_sides(*find_sides(of, against, output=root, study=study))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "results"


def test_the_published_single_runs_are_undecidable_with_what_would_decide(root: Path) -> None:
    study = Study(root)
    study.add("baseline", {0: 84.68})
    study.add("se", {0: 85.38})
    study.plan()
    found = compared(root, "se", "baseline")
    (pair,) = found.pairs
    assert pair.judged.judgement.verdict == "undecidable"
    assert pair.judged.judgement.seeds_to_decide == 7
    text, said = render_text(found), json.loads(render_json(found))
    assert "se − baseline: undecidable, +0.70 (no interval)" in text
    assert "a gap of 0.70 arises by chance 9.9 % of the time" in text
    assert "7 seeds per variant" in text
    # Six more of either side, a minute each, on two workers.
    assert "as many seeds would take about 6 minutes with 2 workers on box-cpu" in text
    (row,) = said["pairs"]
    assert (row["verdict"], row["seeds_to_decide"]) == ("undecidable", 7)
    assert row["reason"] in text and "arises by chance" in row["reason"]
    assert row["delta"] == pytest.approx(0.7) and row["delta_ci"] == [None, None]
    assert "whether the two networks differ, not whether what was changed helps" in text


def test_mcnemar_counts_the_images_that_one_network_alone_gets_right(root: Path) -> None:
    study = Study(root)
    study.add("baseline", {0: 84.7})
    study.add("se", {0: 85.4})
    study.plan()
    runs = compared(root, "se", "baseline").pairs[0].two_runs
    assert runs is not None and runs.only_of - runs.only_against == round(0.007 * IMAGES)
    apart = runs.only_of + runs.only_against
    assert runs.p_value == pytest.approx(stats.binomtest(runs.only_of, apart).pvalue)


def test_several_runs_have_no_test_of_two_networks(root: Path) -> None:
    study = Study(root)
    study.add("baseline", even(84))
    study.add("se", even(85))
    study.plan()
    assert compared(root, "se", "baseline").pairs[0].two_runs is None


def test_a_comparison_with_the_baseline_is_the_reports_own(root: Path) -> None:
    """In its family: alone, the same scores would give another p."""
    study = Study(root)
    study.add("baseline", even(84))
    study.add("se", even(84.6), aliases=("squeeze",))
    study.add("eca", even(84.5))
    study.add("cbam", even(84.4))
    study.plan()
    pair = compared(root, "squeeze", "baseline").pairs[0]
    row = next(row for row in build_report(study.store, "short").variants if row.name == "se")
    assert pair.judged == row.against
    assert pair.judged.judgement.p_adjusted > pair.judged.judgement.p_value


def test_two_other_variants_are_one_comparison_by_themselves(root: Path) -> None:
    study = Study(root)
    study.add("baseline", even(84))
    study.add("se", even(84.9))
    study.add("eca", even(84.1, step=0.3))
    study.plan()
    found = compared(root, "se", "eca")
    judgement = found.pairs[0].judged.judgement
    scores = [list(row.scores.values()) for row in (found.pairs[0].of, found.pairs[0].against)]
    expected = stats.ttest_ind(*scores, equal_var=False)
    assert judgement.p_adjusted == judgement.p_value == pytest.approx(expected.pvalue)
    assert judgement.verdict == "better"
    assert any("it would not keep its level" in note for note in found.notes)


def test_studies_are_compared_by_the_names_they_share(root: Path) -> None:
    first, second = Study(root, "long"), Study(root, "short")
    for study, epochs, gain in ((first, 8, 1.0), (second, 4, 0.0)):
        study.add("baseline", even(84 + gain), epochs=epochs)
        study.add("se", even(85 + gain), epochs=epochs)
    second.add("eca", even(85))
    first.plan(), second.plan()
    found = compared(root, "long", "short")
    assert [(pair.of.name, pair.against.name) for pair in found.pairs] == [
        ("long/baseline", "short/baseline"),
        ("long/se", "short/se"),
    ]
    assert {pair.judged.judgement.verdict for pair in found.pairs} == {"better"}
    assert found.pairs[0].settings == ("train.epochs: 4 -> 8",)
    assert found.only == ((), ("eca",))
    text = render_text(found)
    assert "settings (short/se -> long/se): train.epochs: 4 -> 8" in text
    assert "only in short: eca" in text


def test_variants_of_two_studies_are_named_with_their_study(root: Path) -> None:
    for name, epochs in (("long", 8), ("short", 4)):
        study = Study(root, name)
        study.add("baseline", even(84), epochs=epochs)
        study.add("se", even(85), epochs=epochs)
        study.plan()
    found = compared(root, "long/se", "short/baseline")
    assert found.names == ("long/se", "short/baseline")
    assert found.question == "variants" and len(found.pairs) == 1


def reproduced(tmp_path: Path, **of_the_second: Any) -> Compared:
    for place, options in (("here", {}), ("there", of_the_second)):
        study = Study(tmp_path / place)
        study.add("baseline", even(84), **options)
        study.add("se", even(85))
        study.plan()
    return compared(tmp_path / "nowhere", str(tmp_path / "here"), str(tmp_path / "there"))


def test_two_trees_with_the_same_results_are_reproduced(tmp_path: Path) -> None:
    found = reproduced(tmp_path)
    assert [pair.judged.judgement.verdict for pair in found.pairs] == ["no-op", "no-op"]
    text = render_text(found)
    assert "reproduced: 10 trials stand in both, and each gave the same result bit for bit" in text
    assert text.count(": the same trials\n") == 2 and "no-op" not in text and "McNemar" not in text
    assert {pair["verdict"] for pair in json.loads(render_json(found))["pairs"]} == {"the same trials"}
    assert found.exit_code == 0


def test_another_outcome_of_the_same_trial_is_not_reproduced(tmp_path: Path) -> None:
    found = reproduced(tmp_path, salt=1)
    assert found.pairs[0].not_reproduced == (0, 1, 2, 3, 4), "the same accuracy by other answers"
    assert found.pairs[1].not_reproduced == ()
    assert "not reproduced: 5 of 10 trials" in render_text(found)


def test_other_machines_and_other_seeds_are_said(tmp_path: Path) -> None:
    found = reproduced(tmp_path, machine=MACHINE.model_copy(update={"torch": "2.7.0", "device": "cuda:0"}))
    assert found.pairs[0].mixed == ("device", "torch")
    assert "mixed environments: device, torch differ" in render_text(found)
    assert found.pairs[1].mixed == ()


def test_seeds_that_differ_are_said(root: Path) -> None:
    study = Study(root)
    study.add("baseline", even(84))
    study.add("se", even(85, n=7))
    study.plan()
    assert "seeds differ: 0, 1, 2, 3, 4, 5, 6 against 0, 1, 2, 3, 4" in render_text(
        compared(root, "se", "baseline")
    )


def test_a_side_without_a_finished_run_invents_no_seeds(root: Path) -> None:
    study = Study(root)
    study.add("baseline", even(84))
    study.add("se", {})
    study.plan()
    found = compared(root, "se", "baseline")
    assert found.exit_code == 1
    text = render_text(found)
    assert "no finished run of se" in text and "seeds per variant" not in text and "to decide" not in text


@pytest.mark.parametrize(
    ("of", "against", "said"),
    [
        ("se", "se", "'se' and 'se' are one variant"),
        ("squeeze", "se", "'squeeze' and 'se' are one variant"),
        ("se", "short", "'short' is a study and 'se' a variant"),
        ("seh", "baseline", "did you mean 'se'"),
        ("short/eca", "se", "allowed: baseline, se, squeeze"),
    ],
)
def test_what_cannot_be_compared_is_said(root: Path, of: str, against: str, said: str) -> None:
    study = Study(root)
    study.add("baseline", even(84))
    study.add("se", even(85), aliases=("squeeze",))
    study.plan()
    with pytest.raises(AblateError) as raised:
        compared(root, of, against)
    assert said in str(raised.value)


def test_a_study_that_is_not_there_is_named(root: Path) -> None:
    Study(root, baseline="a").add("a", even(84))
    with pytest.raises(StoreError, match="no study 'other' was run"):
        compared(root, "a", "b", study="other")


def test_the_command_prints_json_and_its_exit_code(root: Path) -> None:
    study = Study(root)
    study.add("baseline", even(84))
    study.add("se", even(85))
    study.plan()
    folder = str(root / "short" / "se")
    done = CliRunner().invoke(app, ["compare", folder, "baseline", "-o", str(root), "--format", "json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["pairs"][0]["verdict"] == "better"
