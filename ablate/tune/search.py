"""One search: which trials Optuna has, which setting is next, and what is told of it when it has ended.

A trial of Optuna's stands for a setting with all tuning seeds. It leads to the records of its trials by its
attributes: `trials` (id by seed), `settings` (dotted), `validation_accuracy` (percent by seed).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from ablate.errors import AblateError
from ablate.failures import headline
from ablate.record import TrialRecord
from ablate.report.tuning import in_one_line, in_words
from ablate.runner.job import Job, mark_of
from ablate.runner.surroundings import Surroundings, keeping_last_weights
from ablate.spec.names import pretraining_of
from ablate.spec.settings import Settings
from ablate.spec.tune import Tune
from ablate.tune.objective import MEASURED, Costs, Limits, mean_accuracy, validation_accuracy
from ablate.tune.pruning import Stopping, make_pruner, report_curve
from ablate.tune.samplers import ATTEMPTS, Careful
from ablate.tune.space import Point, Space
from ablate.tune.storage import Owner, Place, Signs
from ablate.tune.work import Ran, Setting, curve
from ablate.variants import Variant, complete, identity_hash

REPLACES = "replaces"  # attribute of a trial: the number of the one that failed
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass
class Search:
    """Around one start. name: of the start, as reports say it. seeds: of tuning. own_process: of its workers.

    retry_failed: settings that failed before are begun once more, each as another trial in place of the one.
    asked: trials of Optuna's that there are to be in the end, whoever trains them. on_unfit: told of settings
    that failed without being trained.
    """

    tune: Tune
    name: str
    space: Space
    seeds: tuple[int, ...]
    around: Surroundings
    limits: Limits
    costs: Costs
    place: Place
    storage: optuna.storages.BaseStorage
    owner: Owner
    study_name: str
    own_process: bool = True
    retry_failed: bool = False
    signs: Signs = field(default_factory=Signs)
    on_unfit: Callable[[FrozenTrial], None] = lambda _: None

    def __post_init__(self) -> None:
        self.points = self.space.points()
        if self.points is not None:
            self.points = [point for point in self.points if self.fits(point)]
        size = None if self.points is None else len(self.points)
        self.asked = self.tune.trials if size is None else min(self.tune.trials, size)
        every = size is not None and size <= self.tune.trials
        sampler = Careful(
            self.tune.sampler,
            self.space,
            self.points,
            self.fits,
            in_order=every or self.tune.sampler == "grid",
            salt=self.study_name,
        )
        with self.place.locked(self.storage):
            self.study = optuna.create_study(
                study_name=self.study_name,
                storage=self.storage,
                sampler=sampler,
                pruner=make_pruner(self.pruner, self.epochs, len(self.seeds)),
                directions=list(self.tune.objectives.values()),
                load_if_exists=True,
            )
            if "space" not in self.study.user_attrs:
                self.study.set_user_attr("space", self.space.in_words())
            names = list(self.tune.objectives)
            if self.study.metric_names != names:
                self.study.set_metric_names(names)
        self._again = [trial.number for trial in self.trials() if trial.state == TrialState.FAIL]

    @property
    def pruner(self) -> str:
        """None with several objectives: Optuna stops trials for one only."""
        return self.tune.pruner if len(self.tune.objectives) == 1 else "none"

    @property
    def epochs(self) -> int:
        """The most that one seed takes."""
        found = [settings.train.epochs for settings in self._ends()]
        return max(found, default=1)

    def _ends(self) -> list[Settings]:
        found = []
        for key in ("train.epochs", None):
            ends = self.space.dimensions[key].ends() if key in self.space.dimensions else ((None, None),)
            for _, value in ends:
                data = self.space.laid_over({} if value is None or key is None else {key: value})
                found.append(Settings.model_validate(data))
        return found

    def fits(self, point: Point) -> bool:
        return self.limits.kept(lambda: self.space.settings(point), self.costs)

    # What there is

    def trials(self) -> list[FrozenTrial]:
        """Without those that failed and were begun once more."""
        every = self.study.get_trials(deepcopy=False)
        replaced = {trial.user_attrs.get(REPLACES) for trial in every if trial.state != TrialState.WAITING}
        return [trial for trial in every if trial.number not in replaced]

    def open(self) -> list[FrozenTrial]:
        """Begun, and not ended."""
        return [trial for trial in self.trials() if trial.state == TrialState.RUNNING]

    def finished(self) -> int:
        return sum(trial.state in FINISHED for trial in self.trials())

    # What is next

    def claim(self) -> Setting | None:
        """The next setting for this process; None where all that were asked for are begun.

        Trials whose process is gone come first; one that cannot be trained at all is told of and passed over.
        """
        while True:
            with self.place.locked(self.storage):
                trial = self._next()
                if trial is None:
                    return None
                # Before anything else: a trial that names nobody is one whose search died on this line.
                trial.set_user_attr("owner", self.owner.as_attribute())
                point = self.space.walk(trial._suggest)
            setting = self._prepared(trial, point)
            if setting is not None:
                return setting

    def _next(self) -> optuna.trial.Trial | None:
        trials = self.trials()
        for found in trials:
            if found.state == TrialState.RUNNING and self.abandoned(found):
                return optuna.trial.Trial(self.study, found._trial_id)
        if self.retry_failed and (failed := self._to_be_begun_again(trials)) is not None:
            self._enqueue_again(failed)
            return self.study.ask()
        begun = [trial for trial in trials if trial.state != TrialState.WAITING]
        if len(begun) >= self.asked:
            return None
        return self.study.ask()

    def _enqueue_again(self, failed: FrozenTrial) -> None:
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        # One that is there was left by a process that died before it had asked for it.
        if not any(trial.user_attrs.get(REPLACES) == failed.number for trial in waiting):
            self.study.enqueue_trial(failed.params, user_attrs={REPLACES: failed.number})

    def _to_be_begun_again(self, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
        """What failed before this process came, and is not begun again by one beside it."""
        return next((trial for trial in trials if trial.number in self._again), None)

    def abandoned(self, trial: FrozenTrial) -> bool:
        """Whether the process that has this trial is gone. To be asked again and again."""
        owner = Owner.read(trial.user_attrs.get("owner"))
        if owner is None or owner.dead:
            return True
        if owner.token == self.owner.token or owner.machine_is_ours:
            return False
        sign = self.study.user_attrs.get(f"alive {owner.token}")
        return self.signs.silent(owner, sign)

    def _prepared(self, trial: optuna.trial.Trial, point: Point) -> Setting | None:
        """None, and told of, where these settings make no network."""
        changes = self.space.changes(point)
        trial.set_user_attr("settings", changes)
        try:
            settings = without_idle_attention(self.space.settings(point))
            counts = self.known(settings, point)
            trial.set_user_attr("counts", counts)
            if any(excess > 0 for excess in self.limits.excess(counts)):
                why = f"{ATTEMPTS} draws found no setting that keeps the constraints"
                self.on_unfit(self._fail(trial.number, why))
                return None
            jobs, before = self._jobs(settings)
        except (AblateError, ValidationError) as error:
            self.on_unfit(self._fail(trial.number, in_one_line(str(error))))
            return None
        trial.set_user_attr("trials", {str(job.seed): job.trial_id for job in jobs})
        stopping = None
        if self.pruner != "none":
            stopping = Stopping(
                self.place, self.study_name, trial._trial_id, self.pruner, self.epochs, len(self.seeds)
            )
        return Setting(trial.number, changes, jobs, before, stopping)

    def known(self, settings: Settings, point: Point) -> dict[str, float]:
        """What is known of a setting before it is trained. Raises AblateError for no network."""
        found = self.costs.counts(settings)
        if any(metric in MEASURED for metric in self.tune.objectives):
            found |= self.costs.measured(settings, in_words(self.space.changes(point)) or self.name)
        return found

    def _jobs(self, settings: Settings) -> tuple[tuple[Job, ...], tuple[Job, ...]]:
        name = pretraining_of(settings.model.weights)
        pretraining = None if name is None else self.around.pretraining[name].id
        variant = Variant(self.name, settings, pretraining=pretraining).id
        jobs = [self._once_more(self.around.job(settings, seed, variant)) for seed in self.seeds]
        before: list[Job] = []
        for job in jobs if name is not None else ():
            chain = [self.around.pretraining_job(str(name), job.seed)]
            while (first := pretraining_of(chain[0].settings.model.weights)) is not None:
                chain.insert(0, self.around.pretraining_job(first, job.seed))
            before += map(keeping_last_weights, chain)
        return tuple(map(self._for_worker, jobs)), tuple(map(self._for_worker, before))

    def _once_more(self, job: Job) -> Job:
        """Where its record is a failure, and failures are to be tried again."""
        record = self.around.store.read_trial(job.trial_id) if self.retry_failed else None
        if record is None or record.status != "failed":
            return job
        return replace(job, again=True, replaces=mark_of(record))

    def _for_worker(self, job: Job) -> Job:
        """A worker prints into the trial's log, and sees one GPU alone, whichever that is."""
        if not self.own_process:
            return job
        device = "cuda:0" if job.device.startswith("cuda") else job.device
        return replace(job, capture=True, device=device)

    # What has ended

    def tell(self, setting: Setting, ran: Ran) -> FrozenTrial:
        """Give Optuna what came of it. Another process may have done so, which changes nothing."""
        trial = optuna.trial.Trial(self.study, self._id_of(setting.number))
        accuracies = validation_accuracy(ran.records)
        failed = next((record for record in ran.records if record.failure is not None), None)
        if not trial.storage.get_trial(trial._trial_id).state.is_finished():
            trial.set_user_attr("validation_accuracy", {str(k): v for k, v in accuracies.items()})
            self._report(trial, ran.records)
            if ran.stopped is not None:
                trial.set_user_attr("stopped", {"seed": ran.stopped[0], "epoch": ran.stopped[1]})
        if failed is not None and failed.failure is not None:
            return self._fail(setting.number, headline(failed.failure))
        if ran.stopped is not None:
            return self._told(setting.number, state=TrialState.PRUNED)
        counts = trial.user_attrs["counts"]
        values = [
            mean_accuracy(accuracies) if metric == "accuracy" else float(counts[metric])
            for metric in self.tune.objectives
        ]
        if not all(math.isfinite(value) for value in values):
            return self._fail(setting.number, f"an objective is no number: {values}")
        return self._told(setting.number, values=values)

    def _report(self, trial: optuna.trial.Trial, records: Sequence[TrialRecord]) -> None:
        """The curves, for whoever opens the database. Optuna takes those of a single objective."""
        if list(self.tune.objectives) == ["accuracy"]:
            for position, record in enumerate(records):
                report_curve(trial, position * self.epochs, curve(self.around.store, record.id))

    def _fail(self, number: int, why: str) -> FrozenTrial:
        trial_id = self._id_of(number)
        if not self.storage.get_trial(trial_id).state.is_finished():
            self.storage.set_trial_user_attr(trial_id, "why", why)
        return self._told(number, state=TrialState.FAIL)

    def failed(self, setting: Setting, record: TrialRecord | None, why: str) -> FrozenTrial:
        """A worker that died, or could not run the setting at all."""
        return self._fail(setting.number, why if record is None else f"{why} (trial {record.id})")

    def _told(self, number: int, **outcome: Any) -> FrozenTrial:
        self.study.tell(number, skip_if_finished=True, **outcome)
        return next(trial for trial in self.trials() if trial.number == number)

    def _id_of(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)


def without_idle_attention(settings: Settings) -> Settings:
    """An attention with nothing switched on is none, as in the variants of a study."""
    if settings.model.attention is None or complete(settings)["model"]["attention"] is not None:
        return settings
    return settings.model_copy(update={"model": settings.model.model_copy(update={"attention": None})})


def search_name(study: str, start: str, content: Sequence[Any]) -> str:
    """Another space, other seeds or other objectives are another search, beside the first."""
    digest = identity_hash({"search": json.loads(json.dumps(content, sort_keys=True, default=str))})
    return f"{study}/{start}/{digest[:8]}"
