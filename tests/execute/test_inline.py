from __future__ import annotations

import pytest

from ablate.errors import MachineError
from ablate.execute import InlineExecutor


def test_items_run_in_order_in_this_very_process():
    seen = []
    assert [
        outcome.value for outcome in InlineExecutor().run(lambda item: seen.append(item) or item, "abc")
    ] == [
        "a",
        "b",
        "c",
    ]
    assert seen == ["a", "b", "c"]


def test_a_time_limit_is_refused_rather_than_ignored():
    with pytest.raises(MachineError, match="use --executor local"):
        InlineExecutor().run(str, [1], timeout_s=1.0)


def test_ctrl_c_is_the_callers():
    def interrupted(item):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(InlineExecutor().run(interrupted, [1]))
