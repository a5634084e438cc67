"""How long studies take on this device: steps of the baseline and of the heaviest variant of each, measured.

    python scripts/gpu/estimate.py OUTPUT DEVICE < JOBS

JOBS: a JSON list of {key, study, only, settings}. Prints a line of JSON for each as it is known: key, and
trials, those still to train, with trial_s, the mean seconds of one that has the device to itself; or error.
Other variants are put between these two by their MACs.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any


def main() -> None:
    output, device = Path(sys.argv[1]), sys.argv[2]
    for job in json.load(sys.stdin):
        try:
            found = estimate_of(job, output, device)
        except Exception as error:  # whatever it is, the other studies can be told of
            found = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps({"key": job["key"], **found}), flush=True)


def estimate_of(job: dict[str, Any], output: Path, device: str) -> dict[str, float]:
    from ablate.runner import estimate, plan_study
    from ablate.spec import load_study

    path = Path(job["study"])
    sys.path.append(str(path.parent.absolute()))
    study = load_study(path, job["settings"])
    plan = plan_study(study, output=output, only=job["only"], device=device)
    wanted = [trial for trial in plan.wanted if trial.variant.origin != "pretraining"]
    macs = {trial.variant.name: plan.inspections[trial.variant.name].macs for trial in wanted}
    seconds = {}
    for name in {min(macs, key=macs.__getitem__), max(macs, key=macs.__getitem__)} if macs else ():
        one = next(trial for trial in wanted if trial.variant.name == name)
        seconds[name] = estimate(replace(plan, trials=(one,)), 1)
    total = sum(_between(macs, seconds, trial.variant.name) for trial in wanted)
    of_pretraining: dict[str, float] = {}
    for trial in plan.wanted:
        if trial.variant.origin == "pretraining":
            name = trial.variant.name
            if name not in of_pretraining:
                of_pretraining[name] = estimate(replace(plan, trials=(trial,)), 1)
            total += of_pretraining[name]
    count = len(plan.wanted)
    return {"trials": count, "trial_s": total / count if count else 0.0}


def _between(macs: dict[str, int], seconds: dict[str, float], name: str) -> float:
    low, high = min(seconds, key=macs.__getitem__), max(seconds, key=macs.__getitem__)
    if macs[low] == macs[high]:
        return max(seconds.values())
    share = (macs[name] - macs[low]) / (macs[high] - macs[low])
    return seconds[low] + share * (seconds[high] - seconds[low])


if __name__ == "__main__":
    main()
