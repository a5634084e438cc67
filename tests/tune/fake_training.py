"""Training that is a formula, for tests of what surrounds it; as a program, it is `ablate tune` with it."""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from ablate.record import TrialMetrics, TrialRecord
from ablate.store import TrialPaths, write_text


def final_accuracy(settings: Any) -> float:
    """Validation accuracy after the last epoch: best at a reduction of 8 and a learning rate of 0.01."""
    attention = settings.model.attention
    ratio = attention.args.get("reduction", 4) if attention is not None else 64
    rate = settings.train.optimizer.lr
    return 90.0 - 3 * abs(math.log2(ratio / 8)) - 6 * abs(math.log10(rate / 0.01)) ** 1.5


@dataclass
class Training:
    """seconds: that a trial takes. faults: reduction -> the exception to raise."""

    seconds: float = 0.0
    trained: list[tuple[Any, int]] = field(default_factory=list)
    epochs: int = 0
    faults: dict[int, BaseException] = field(default_factory=dict)

    def run_trial(
        self, settings, seed, *, folder, trial_id, variant_id, identity, environment, on_epoch=None, **_
    ) -> TrialRecord:
        from ablate.trial import StoppedEarly

        self.trained.append((settings, seed))
        attention = settings.model.attention
        fault = self.faults.get(attention.args.get("reduction") if attention else 0)
        if fault is not None:
            raise fault
        paths, count = TrialPaths(folder), settings.train.epochs
        write_text(paths.settings, "{}")
        final = final_accuracy(settings) + 0.01 * (seed % 7)
        rows = []
        for epoch in range(1, count + 1):
            time.sleep(self.seconds / count)
            rows.append(SimpleNamespace(epoch=epoch, validation_accuracy=final * (1 - 0.5 * 0.4**epoch)))
            self.epochs += 1
            if epoch < count and on_epoch is not None and on_epoch(rows):
                raise StoppedEarly(epoch)
        lines = [f"{row.epoch},{row.validation_accuracy}" for row in rows]
        write_text(paths.epochs, "\n".join(["epoch,validation_accuracy", *lines, ""]))
        return TrialRecord(
            id=trial_id,
            variant_id=variant_id,
            seed=seed,
            status="done",
            identity=identity,
            classes=10,
            test_count=360,
            metrics=TrialMetrics(
                accuracy=100.0 - final,  # the worse the better the validation: whoever looks at it is seen
                accuracy_best=50.0,
                best_epoch=1,
                test_loss=0.1,
                validation_accuracy=rows[-1].validation_accuracy,
                validation_loss=0.1,
                train_accuracy=90.0,
                train_loss=0.1,
            ),
            environment=environment,
            started=f"2025-01-01T00:00:00+00:00 {time.time_ns()}",
            wall_s=self.seconds,
        )


SECONDS = float(os.environ.get("SECONDS_A_TRIAL", "0.1"))

if __name__ == "__mp_main__":  # a worker of the program below
    import ablate.environment

    trial = ModuleType("ablate.trial")  # without torch, whose import takes longer than all the rest
    trial.run_trial, trial.StoppedEarly = Training(SECONDS).run_trial, type("StoppedEarly", (Exception,), {})
    trial.__path__ = [str(Path(ablate.__file__).parent / "trial")]  # what needs no torch is found there
    sys.modules |= {"ablate.trial": trial, "ablate.trial.run": trial}
    ablate.environment.require_torch = lambda: SimpleNamespace(set_num_threads=lambda _: None)

if __name__ == "__main__":
    import ablate.report.figures
    import ablate.trial
    from ablate.cli import main

    ablate.trial.run_trial = Training(SECONDS).run_trial
    ablate.report.figures.draw_figures = lambda *_: {}
    main(["tune", *sys.argv[1:]])
