"""What a failure is called, and the way out of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.failures import Failed, group_lines, grouped, headline, way_out
from ablate.record import Environment, Failure, TrialRecord

ENVIRONMENT = Environment(
    ablate="0", python="3", torch="2", numpy="2", platform="p", machine="m", cpu="c", cpu_count=2, threads=1,
    device="cpu", device_name="c",
)  # fmt: skip


def failed(*, seed=0, train=None, **failure) -> TrialRecord:
    return TrialRecord(
        id=f"{seed:016x}",
        variant_id="0" * 12,
        seed=seed,
        status="failed",
        identity={"settings": {"train": {"batch_size": 64} if train is None else train}},
        failure=Failure(**({"kind": "exception", "message": ""} | failure)),
        environment=ENVIRONMENT,
        started="2025-01-01T00:00:00+00:00",
        wall_s=1.0,
    )


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ({"error": "KeyError", "message": "'x'"}, "exception: KeyError: 'x'"),
        ({"error": "a.b.Broken", "message": "one\ntwo"}, "exception: Broken: one"),
        (
            {"kind": "out-of-memory", "error": "MemoryError", "message": "MemoryError"},
            "out-of-memory: MemoryError",
        ),
        (
            {"kind": "crashed", "message": "died of SIGSEGV", "attempts": 2},
            "crashed: died of SIGSEGV (2 attempts)",
        ),
        (
            {
                "kind": "non-finite",
                "error": "ablate.train.fit.NonFiniteLoss",
                "message": "the loss is nan\n  x",
            },
            "non-finite: the loss is nan",
        ),
        ({"message": ""}, "exception"),
    ],
)
def test_a_headline_is_kind_class_and_first_line(failure, said):
    assert headline(failed(**failure).failure) == said


GPU = {"kind": "out-of-memory", "error": "torch.OutOfMemoryError", "message": "CUDA out of memory. Tried"}


def test_out_of_memory_offers_half_the_memory_at_the_same_effective_batch():
    parts = (
        "train.accumulate=2 (a step's 64 images pass in 2 parts of 32: about half the memory, the same "
        "effective batch; batch norm sees one part at a time)"
    )
    recomputing = "train.gradient_checkpointing=true (less memory for a slower step, the same result)"
    assert way_out(failed(**GPU)) == f"{parts}; or {recomputing}"
    for cpu in (
        {"kind": "out-of-memory", "message": "the worker process was killed by the kernel (SIGKILL)"},
        {"kind": "out-of-memory", "error": "MemoryError", "message": "MemoryError"},
        {"kind": "out-of-memory", "error": "RuntimeError", "message": "DefaultCPUAllocator: can't allocate"},
    ):
        fewer = "run fewer trials at once (a smaller -j)"
        assert way_out(failed(**cpu)) == f"{fewer}; or {parts}; or {recomputing}"


def test_what_was_done_already_is_not_advised_again():
    said = way_out(failed(**GPU, train={"batch_size": 50, "accumulate": 4, "gradient_checkpointing": True}))
    assert said.startswith("train.accumulate=8 (a step's 50 images pass in 8 parts of 7: ")
    assert "gradient_checkpointing" not in said
    # One image a part is the least, and compiling does not go with computing again.
    single = way_out(failed(**GPU, train={"batch_size": 8, "accumulate": 8, "compile": True}))
    assert single == "run fewer trials at once (a smaller -j), or lower train.batch_size"


@pytest.mark.parametrize(
    "message",
    [
        "mat1 and mat2 shapes cannot be multiplied (64x10 and 20x10)",
        "The size of tensor a (7) must match the size of tensor b (14) at non-singleton dimension 3",
        "Given groups=1, weight of size [8, 4, 1, 1], expected input[2, 3, 8, 8] to have 4 channels",
        "Sizes of tensors must match except in dimension 1. Expected size 7 but got size 6",
        "shape '[2, 3]' is invalid for input of size 7",
        "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [2, 3]",
        "running_mean should contain 4 elements not 8",
    ],
)
def test_a_shape_error_points_at_the_users_module(message):
    said = way_out(failed(error="RuntimeError", message=message, where="nets.py:12 in forward"))
    assert said.startswith(
        "the tensors at nets.py:12 in forward do not fit together: print their shapes there"
    )


def test_torch_still_words_its_shape_errors_so():
    torch = pytest.importorskip("torch")
    from torch.nn import functional

    x = torch.zeros(2, 3, 8, 8)
    broken = [
        lambda: x.flatten(1) @ torch.zeros(5, 5),
        lambda: x + torch.zeros(2, 3, 8, 7),
        lambda: functional.conv2d(x, torch.zeros(4, 5, 1, 1)),
        lambda: torch.cat([x, torch.zeros(2, 3, 8, 7)]),
        lambda: x.reshape(5, 5),
        lambda: functional.conv2d(torch.zeros(3), torch.zeros(4, 3, 1, 1)),
        lambda: functional.batch_norm(x, torch.zeros(5), torch.ones(5)),
        lambda: functional.layer_norm(x, [5]),
        lambda: x.expand(4, 3, 8, 8),
        lambda: functional.cross_entropy(torch.zeros(3, 2), torch.zeros(4, dtype=torch.long)),
    ]
    for number, fault in enumerate(broken):
        with pytest.raises((RuntimeError, ValueError)) as caught:
            fault()
        said = way_out(failed(error="RuntimeError", message=str(caught.value)))
        assert "do not fit together" in said, (number, str(caught.value))


@pytest.mark.parametrize(
    ("failure", "part"),
    [
        ({"kind": "timeout"}, "raise --timeout"),
        (
            {"kind": "timeout", "where": "nets.py:3 in forward"},
            "if it hangs at nets.py:3, mend that; else raise --timeout",
        ),
        (
            {"error": "EOFError", "message": "EOF when reading a line", "where": "nets.py:3 in forward"},
            "nets.py:3 waits for one (input(), breakpoint()): take it out, or run this trial in your own: "
            "--retry-failed --executor inline",
        ),
        ({"error": "bdb.BdbQuit", "message": "bdb.BdbQuit", "where": "n.py:3 in f"}, "--executor inline"),
        ({"kind": "timeout", "traceback": '  File "/x/pdb.py", line 1 in readline'}, "--executor inline"),
        (
            {"kind": "crashed", "message": "died of SIGSEGV", "where": "nets.py:3 in forward"},
            "broke down in the call at nets.py:3: look at what that line gives it",
        ),
        (
            {"kind": "crashed", "message": "the worker process ended by itself with exit code 7"},
            "raise an exception instead",
        ),
        (
            {
                "kind": "crashed",
                "message": "the worker process ended by itself with exit code 7",
                "where": "nets.py:3 in f",
            },
            "nets.py:3 ends the whole process",
        ),
        ({"error": "OSError", "message": "[Errno 28] No space left on device: '/scratch/x'"}, "is full"),
        ({"kind": "crashed", "message": "died of SIGSEGV"}, "--executor inline with --only and --seeds"),
        (
            {"kind": "crashed", "message": "was killed (SIGKILL) by another process"},
            "--retry-failed tries again",
        ),
        (
            {"kind": "non-finite", "message": "nan\n    lower the rate; set a norm"},
            "lower the rate; set a norm",
        ),
        ({"kind": "interrupted"}, "run the same command again"),
        ({"error": "KeyError", "message": "'x'", "where": "nets.py:3 in __init__"}, "mend nets.py:3, where"),
        ({"error": "KeyError", "message": "'x'"}, "the traceback in the log shows where it was raised"),
        (
            {"error": "ablate.errors.DataError", "message": "no such folder\n    give data.root"},
            "give data.root",
        ),
    ],
)
def test_every_kind_has_its_way_out(failure, part):
    assert part in way_out(failed(**failure))


def test_a_trial_that_is_done_needs_none():
    done = failed().model_copy(update={"failure": None, "status": "done"})
    assert way_out(done) == ""
    assert grouped([Failed("a", done, Path("log.txt"))]) == ()


def test_trials_that_failed_alike_stand_together():
    same = {"error": "KeyError", "message": "'x'", "where": "nets.py:3 in forward"}
    trials = [
        Failed(f"se seed {seed}", failed(seed=seed, **same), Path(f"{seed}/log.txt")) for seed in range(5)
    ]
    trials.insert(1, Failed("cbam seed 0", failed(kind="timeout", message="stopped"), Path("c/log.txt")))
    assert group_lines(grouped(trials)) == [
        "failed: se seed 0, se seed 1, se seed 2 and 2 more: exception: KeyError: 'x'",
        "    way out: mend nets.py:3, where it was raised; the log has the traceback",
        "failed: cbam seed 0: timeout: stopped",
        "    way out: raise --timeout, or shorten the training (train.epochs, train.steps)",
    ]
