"""The record of a trial without a result."""

import pytest

from ablate.execute import ExecutionFailure, describe_error
from ablate.train import NonFiniteLoss
from ablate.trial import failed_record


def test_a_trial_that_breaks_down_leaves_its_log_and_no_progress(run, tmp_path, environment, settings):
    chosen = settings(train={"optimizer": {"name": "sgd", "lr": 1e38}})
    with pytest.raises(NonFiniteLoss) as caught:
        run(chosen)
    (log,) = (tmp_path / "results").rglob("log.txt")
    assert "ended by NonFiniteLoss: the training loss is" in log.read_text()
    assert not list((tmp_path / "results").rglob("*progress*"))

    failure = describe_error(caught.value)
    record = failed_record(
        trial_id="ab12",
        variant_id="cd34",
        seed=3,
        identity={"seed": 3},
        environment=environment,
        started="2026-01-01T00:00:00+00:00",
        wall_s=1.5,
        kind=failure.kind,
        message=failure.message,
        traceback=failure.traceback,
        error=failure.error,
        log=log,
    )
    assert (record.status, record.failure.kind, record.metrics) == ("failed", "non-finite", None)
    assert "fit.py" in record.failure.traceback and "lr 1e+38" in record.failure.message
    assert record.failure.log_tail[-1] == log.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("crashed", "crashed"),
        ("timeout", "timeout"),
        ("out-of-memory", "out-of-memory"),
        ("cancelled", "interrupted"),
    ],
)
def test_failures_of_the_executor_become_records(environment, tmp_path, given, kind):
    failure = ExecutionFailure(given, "worker gone")
    record = failed_record(
        trial_id="ab12",
        variant_id="cd34",
        seed=0,
        identity={},
        environment=environment,
        started="2026-01-01T00:00:00+00:00",
        wall_s=0.0,
        kind=failure.kind,
        message=failure.message,
        log=tmp_path / "absent.txt",
    )
    assert (record.failure.kind, record.failure.message, record.failure.log_tail) == (kind, "worker gone", ())
