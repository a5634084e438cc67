"""Costs of a study: once a variant and machine, all latencies in one session, and no failure ends a run."""

from __future__ import annotations

import json
from random import Random

import pytest
import torch

from ablate.bench import Footprint
from ablate.bench.timing import Timed
from ablate.errors import StoreError, StudyError
from ablate.measure import MemoryPeak, Session, Timing
from ablate.record import TrialMetrics, TrialRecord
from ablate.report import MEASURED_KEYS, build_report, render, without_measured
from ablate.runner import costs, plan_study, run_study
from ablate.store import Store


@pytest.fixture(autouse=True)
def short_sessions(monkeypatch, no_session):
    no_session.undo()
    monkeypatch.setenv("ABLATE_MACHINE", "here")
    monkeypatch.setattr(costs, "LEAST_S", 1.0)
    torch.set_num_threads(1)


@pytest.fixture
def weighed(monkeypatch):
    """Names of the variants whose memory was measured; the figures are planted, and no two are alike."""
    names, random = [], Random(0)

    def timing():
        rounds_ms = tuple(random.uniform(1, 2) for _ in range(10))
        return Timing(rounds_ms, rounds_ms)

    def weigh(subject, conditions):
        names.append(subject.name)
        peak = MemoryPeak(random.randrange(10**6), "planted")
        return Footprint(1, 0, 1, 0, 7, 8, peak, subject.settings.train.batch_size, peak)

    def time_together(networks, subjects, conditions, saved_bytes):
        session = Session({subject.name: timing() for subject in subjects}, contention=("planted load",))
        return Timed(session, {}, session, 4, {}, {})

    monkeypatch.setattr(costs, "footprint", weigh)
    monkeypatch.setattr("ablate.bench.session.time_together", time_together)
    return names


def measured(study, root, display, **asked):
    plan = plan_study(study, output=root, device="cpu", **asked)
    plan.store.write_plan(plan.record)
    costs.measure_costs(plan, display)
    found = {variant.name: plan.store.read_costs(variant.cost_id) for variant in plan.record.variants}
    return {name: record for name, [record] in found.items()}


def test_a_study_without_seeds_is_run_for_its_costs(make_study, root, recording, weighed):
    """Every variant is counted and timed, nothing is trained, and no seed is asked of anybody."""
    study = make_study("seeds=0")
    for _ in range(2):  # the second run finds all of it
        done = run_study(study, output=root, device="cpu", display=recording)
        assert (done.exit_code, done.total, done.trained) == (0, 0, 0)
        assert done.message.splitlines()[0] == "nothing to train: a study of costs alone"
    assert weighed == ["baseline", "se", "se-early"]
    store = Store(root)
    plan = store.read_plan("tiny")
    assert plan.seeds == () and "train_count" not in plan.data and not store.trial_ids()
    assert not any("seeds" in note or "without any finished" in note for note in recording.told.notes)
    assert done.report.read_text().startswith("# A study for tests\n\nCosts alone, for nothing was trained.")


def test_only_some_of_a_study_without_seeds(make_study, root, recording, weighed):
    measured(make_study("seeds=0"), root, recording, only=["se"])
    assert weighed == ["baseline", "se"]


def test_a_study_without_seeds_has_none_to_give_out(make_study, root):
    with pytest.raises(StudyError, match="has no seeds to give out: the study trains nothing"):
        plan_study(make_study("seeds=0"), output=root, device="cpu", until_decided=True)


def test_everything_is_measured_once_and_in_one_session(study, root, recording):
    """Nothing planted here."""
    first = measured(study, root, recording)
    assert {record.latency_session for record in first.values()} == {first["se"].latency_session}
    for record in first.values():
        assert len(record.latency_rounds_ms) >= 5
        assert record.latency_ms <= record.latency_p95_ms
        assert record.images_per_s > 0 and record.throughput_batch >= 1
        assert record.peak_memory_bytes > record.inference_memory_bytes > 4 * record.param_count
        assert (record.train_batch, record.image_energy_mj) == (128, None)
    said = len(recording.told.notes)
    assert measured(study, root, recording) == first
    assert len(recording.told.notes) == said


def test_only_what_was_asked_for_is_timed_and_the_rest_later_with_all(study, root, recording, weighed):
    some = measured(study, root, recording, only=["se"])
    assert some["se"].latency_session == some["baseline"].latency_session is not None
    assert some["se-early"].macs > 0 and some["se-early"].latency_ms is None
    with pytest.MonkeyPatch.context() as patch:  # sessions are told apart by the second
        patch.setattr("ablate.bench.session.datetime", _Later)
        every = measured(study, root, recording)
    assert weighed == ["baseline", "se", "se-early"]
    assert {record.latency_session for record in every.values()} == {"2099-01-01T00:00:00+00:00"}
    assert list(every["se"].sessions) == [some["se"].latency_session, "2099-01-01T00:00:00+00:00"]


class _Later:
    @staticmethod
    def now(_):
        return _Later()

    def isoformat(self, timespec):
        return "2099-01-01T00:00:00+00:00"


def test_a_step_of_another_batch_is_measured_again(make_study, root, recording, weighed):
    measured(make_study(), root, recording)
    again = measured(make_study("train.batch_size=32"), root, recording)
    assert len(weighed) == 6
    assert {record.train_batch for record in again.values()} == {32}


def test_a_network_that_cannot_be_measured_is_a_note(study, root, recording, weighed, monkeypatch):
    real = costs.footprint

    def footprint(subject, conditions):
        if subject.name == "se":
            raise IndexError("planted\nwith more")
        return real(subject, conditions)

    monkeypatch.setattr(costs, "footprint", footprint)
    found = measured(study, root, recording)
    assert "se: neither memory nor latency was measured: IndexError: planted" in recording.told.notes
    assert found["se"].latency_ms is None and found["se"].macs > 0
    assert found["baseline"].latency_session == found["se-early"].latency_session is not None


def test_timing_that_fails_is_a_note_and_a_full_disk_is_not(study, root, recording, weighed, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("planted")

    monkeypatch.setattr(costs, "measure", fail)
    measured(study, root, recording)
    assert recording.told.notes[-1] == "no latency was measured: RuntimeError: planted"

    def full(*_, **__):
        raise StoreError("the disk is full")

    monkeypatch.setattr(costs, "measure", full)
    with pytest.raises(StoreError, match="the disk is full"):
        measured(study, root, recording)


@pytest.mark.parametrize(("wall_s", "limit"), [(10.0, 1.0), (500.0, 10.0), (1e6, 60.0)])
def test_a_variant_may_take_a_fiftieth_of_a_trial(study, root, wall_s, limit):
    plan = plan_study(study, output=root, device="cpu")
    for trial in plan.selected:
        write_trial(plan.store, trial.job, wall_s)
    assert costs.limit_s(plan) == pytest.approx(limit)


def write_trial(store, job, wall_s=1.0, accuracy=90.0):
    metrics = dict.fromkeys(TrialMetrics.model_fields, accuracy) | {"best_epoch": 1}
    store.write_trial(
        TrialRecord(
            id=job.trial_id,
            variant_id=job.variant_id,
            seed=job.seed,
            status="done",
            identity=job.identity,
            classes=10,
            test_count=360,
            metrics=TrialMetrics(**metrics),
            environment=job.environment,
            started="2025-01-01T00:00:00+00:00",
            wall_s=wall_s,
        )
    )


def test_equal_runs_differ_in_what_is_marked_as_measured_alone(study, tmp_path, recording, weighed):
    shown = []
    for name in ("one", "two"):
        plan = plan_study(study, output=tmp_path / name, device="cpu")
        for trial in plan.selected:
            write_trial(plan.store, trial.job, accuracy=80.0 + trial.job.seed)
        measured(study, tmp_path / name, recording)
        report = build_report(Store(tmp_path / name), "tiny")
        assert report.costs.measured[0].latency_ms is not None
        shown.append(
            (
                without_measured(render(report, "markdown")),
                without_measured_keys(json.loads(render(report, "json"))),
                [figure.name for figure in report.figures],
            )
        )
    assert shown[0] == shown[1]


def without_measured_keys(document):
    if isinstance(document, dict):
        return {
            key: without_measured_keys(value) for key, value in document.items() if key not in MEASURED_KEYS
        }
    return [without_measured_keys(value) for value in document] if isinstance(document, list) else document
