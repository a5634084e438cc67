"""The contract of an executor, held for every implementation."""

from __future__ import annotations

import pytest

from ablate.execute import InlineExecutor, LocalExecutor
from ablate.execute.on_slurm.executor import SlurmExecutor


def make_ray(request):
    from ablate.execute.on_ray.executor import RayExecutor

    return RayExecutor(request.getfixturevalue("ray_cluster").address, 2)


def make_slurm(request):
    folder = request.getfixturevalue("tmp_path") / "jobs"
    return SlurmExecutor(folder, 2, cluster="local", queue_look_s=0.5)


MAKERS = {
    "inline": lambda request: InlineExecutor(),
    "local": lambda request: LocalExecutor(2),
    "ray": make_ray,
    "slurm": make_slurm,
}
# A cluster takes seconds to start, as does each job on submitit's own local one: not among the usual tests.
NAMES = [
    "inline",
    "local",
    pytest.param("ray", marks=pytest.mark.ray),
    pytest.param("slurm", marks=pytest.mark.slurm),
]


@pytest.fixture(params=NAMES)
def executor(request):
    with MAKERS[request.param](request) as executor:
        yield executor


def test_every_item_gives_one_outcome_that_leads_back_to_it(executor, jobs):
    items = list(range(4 if isinstance(executor, SlurmExecutor) else 20))
    outcomes = sorted(executor.run(jobs.double, items), key=lambda outcome: outcome.index)
    assert [outcome.index for outcome in outcomes] == items
    assert [outcome.item for outcome in outcomes] == items
    assert [outcome.value for outcome in outcomes] == [0, 2, 4, *range(6, 2 * len(items), 2)]
    assert all(outcome.failure is None and outcome.wall_s >= 0 for outcome in outcomes)


def test_no_items_give_no_outcomes(executor, jobs):
    assert list(executor.run(jobs.double, [])) == []


@pytest.mark.parametrize(
    ("fault", "kind", "error", "message"),
    [
        ("raise", "exception", "ValueError", "a planted fault"),
        ("sys.exit", "exception", "SystemExit", "leaving"),
        ("memory", "out-of-memory", "MemoryError", "MemoryError"),
        ("unspeakable", "exception", "planted_jobs.Unspeakable", "devnull"),
    ],
)
def test_a_fault_is_the_failure_of_its_item_alone(executor, jobs, fault, kind, error, message):
    outcomes = {outcome.item: outcome for outcome in executor.run(jobs.misbehave, ["before", fault, "after"])}
    failure = outcomes[fault].failure
    assert (failure.kind, failure.error, outcomes[fault].value) == (kind, error, None)
    assert message.replace("devnull", "/dev/null") in failure.message
    assert "in misbehave" in failure.traceback
    assert [outcomes[good].value for good in ("before", "after")] == ["before", "after"]


def test_running_out_of_device_memory_is_told_apart(executor, jobs):
    (outcome,) = executor.run(jobs.out_of_device_memory, [0])
    assert outcome.failure.kind == "out-of-memory"


def test_leaving_early_leaves_the_executor_usable(executor, jobs):
    for outcome in executor.run(jobs.double, range(10)):
        if outcome.index == 3:
            break
    assert sorted(outcome.value for outcome in executor.run(jobs.double, [1, 2])) == [2, 4]


def test_a_cancelled_round_ends(executor, jobs):
    seen = []
    for outcome in executor.run(jobs.double, range(100)):
        seen.append(outcome)
        executor.cancel()
    assert len([outcome for outcome in seen if outcome.failure is None]) <= 2


@pytest.mark.parametrize("name", NAMES)
def test_an_executor_that_nobody_holds_lives_as_long_as_its_round(jobs, name, request):
    outcomes = MAKERS[name](request).run(jobs.double, [1, 2, 3])
    assert sorted(outcome.value for outcome in outcomes) == [2, 4, 6]
