"""The section `tune` of a study file: what is searched, for what, on which seeds, and with which budget."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from ablate.spec.claims import Metric
from ablate.spec.seeds import read_seeds, seeds_schema
from ablate.spec.settings import Frozen
from ablate.spec.words import must_be, refuse, show

SAMPLERS = ("tpe", "random", "grid", "nsga2")
PRUNERS = ("none", "median", "halving", "hyperband")
# Far from the numbers that people give their reporting seeds.
FIRST_SEED = 1000
DEFAULT_SEEDS = 2
MAX_SEEDS = 100
DIRECTIONS: dict[str, str] = {"accuracy": "maximize"}  # all other metrics are costs
CONSTRAINED = ("param_count", "macs")
_CONSTRAINT = re.compile(
    r"\s*(?P<metric>\w+)\s*(?P<relation><=|>=)\s*(?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*"
    r"(?:(?P<unit>[kMG])|(?P<relative>[x×]\s*baseline))?\s*"
)
_UNITS = {None: 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def _to_number(value: Any) -> Any:
    """A whole number stays one: whether a range is of whole numbers depends on it."""
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise must_be("a number", value)
    return value


Number = Annotated[Any, BeforeValidator(_to_number), WithJsonSchema({"type": "number"})]


def _list_as_values(data: Any) -> Any:
    return {"values": data} if isinstance(data, list) else data


class Dimension(Frozen):
    """One setting of a search: `values`, or a range from `low` to `high`, in steps or on a log scale."""

    values: (
        Annotated[tuple[Any, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)] | None
    ) = None
    low: Number = None
    high: Number = None
    step: Number = None
    log: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, data: Any) -> Any:
        return _list_as_values(data)

    @model_validator(mode="after")
    def _complete(self) -> Dimension:
        if self.values is not None:
            if not self.values:
                raise refuse("must not be empty: give at least one value")
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise refuse("has both values and a range; keep one")
            if twice := _given_twice(self.values):
                raise refuse(f"gives {show(twice[0])} twice")
            return self
        if self.low is None or self.high is None:
            raise refuse("needs a list of values, or low and high")
        if not self.low < self.high:
            raise must_be(f"greater than low ({self.low})", self.high, place=("high",))
        if self.log and self.low <= 0:
            raise must_be("greater than 0 on a log scale", self.low, place=("low",))
        if self.step is not None and self.step <= 0:
            raise must_be("greater than 0", self.step, place=("step",))
        if self.log and self.step is not None:
            raise refuse("a log scale takes no step", place=("step",))
        if self.step is not None and self.low + self.step > self.high:
            raise must_be(
                f"at most {self.high - self.low:g}, the length of the range", self.step, place=("step",)
            )
        return self

    @property
    def is_whole(self) -> bool:
        """A range of whole numbers."""
        given = (self.low, self.high, *(() if self.step is None else (self.step,)))
        return self.values is None and all(isinstance(number, int) for number in given)

    @property
    def is_finite(self) -> bool:
        return self.values is not None or self.is_whole or self.step is not None

    def ends(self) -> tuple[tuple[str | int, Any], ...]:
        """Values to try a setting with, each with its key: all of a list, both ends of a range."""
        if self.values is not None:
            return tuple(enumerate(self.values))
        return (("low", self.low), ("high", self.high))


def _given_twice(values: tuple[Any, ...]) -> list[Any]:
    """4 and 4.0 are one value to whatever takes a number; true and 1 are not."""
    seen: list[tuple[bool, Any]] = []
    twice: list[tuple[bool, Any]] = []
    for value in values:
        mark = (isinstance(value, bool), value)
        (twice if mark in seen else seen).append(mark)
    return [value for _, value in twice]


def _to_tuning_seeds(value: Any) -> Any:
    if value is None or isinstance(value, tuple):
        return value
    return read_seeds(value, first=FIRST_SEED, most=MAX_SEEDS, example="leave it out")


_SEEDS_SCHEMA = {"anyOf": [{"type": "null"}, *seeds_schema(MAX_SEEDS)]}
TuningSeeds = Annotated[
    tuple[int, ...] | None, BeforeValidator(_to_tuning_seeds), WithJsonSchema(_SEEDS_SCHEMA)
]


class Constraint(Frozen):
    """``macs <= 1.2x baseline``, ``param_count <= 1.5M``: known of a setting before it is trained.

    limit: in the metric's unit, or, where `relative`, as a multiple of what the study's baseline has.
    """

    text: str
    metric: str
    at_most: bool
    limit: float
    relative: bool

    def bound(self, baseline: float) -> float:
        return self.limit * baseline if self.relative else self.limit

    def excess(self, value: float, baseline: float) -> float:
        """By what part of the bound it is broken; at most 0 where it is kept."""
        bound = self.bound(baseline)
        return (value - bound if self.at_most else bound - value) / (bound or 1.0)


def _to_constraint(value: Any) -> Any:
    if isinstance(value, Constraint):
        return value
    example = "'macs <= 1.2x baseline' or 'param_count <= 1.5M'"
    if not isinstance(value, str) or (found := _CONSTRAINT.fullmatch(value)) is None:
        raise must_be(f"of the form METRIC <= NUMBER, such as {example}", value)
    if found["metric"] not in CONSTRAINED:
        raise refuse(
            f"{found['metric']!r} cannot be a constraint: only what can be counted before training",
            allowed=CONSTRAINED,
        )
    limit = float(found["number"]) * _UNITS[found["unit"]]
    if not 0 < limit < float("inf"):
        raise must_be("greater than 0", value)
    return Constraint(
        text=" ".join(value.split()),
        metric=found["metric"],
        at_most=found["relation"] == "<=",
        limit=limit,
        relative=found["relative"] is not None,
    )


OneConstraint = Annotated[
    Constraint, BeforeValidator(_to_constraint), WithJsonSchema({"type": "string", "minLength": 1})
]


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class Tune(Frozen):
    """A search.

    start: the variant searched around (None: the defaults). also: others that get the same budget. overrides:
    dotted settings that hold while tuning alone, such as fewer epochs. seeds: each setting is trained with
    all of them; None: `DEFAULT_SEEDS` that the study does not report. timeout: seconds after which no further
    setting is begun.
    """

    space: dict[str, Dimension] = Field(min_length=1)
    trials: int = Field(20, ge=1, le=1_000_000)
    objectives: dict[Metric, Literal["maximize", "minimize"]] = Field({"accuracy": "maximize"}, min_length=1)
    start: str | None = Field(None, alias="from")
    also: Annotated[tuple[str, ...], BeforeValidator(_to_tuple)] = ()
    overrides: dict[str, Any] = Field(default_factory=dict, alias="set")
    seeds: TuningSeeds = None
    sampler: Literal["tpe", "random", "grid", "nsga2"] = "tpe"
    pruner: Literal["none", "median", "halving", "hyperband"] = "none"
    constraints: Annotated[tuple[OneConstraint, ...], BeforeValidator(_to_tuple)] = ()
    timeout: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Tune:
        for metric, direction in self.objectives.items():
            if direction != (wanted := DIRECTIONS.get(metric, "minimize")):
                what = "what is to be had" if wanted == "maximize" else "a cost"
                raise refuse(
                    f"{metric} is {what}: it cannot be an objective to {direction}",
                    allowed=(wanted,),
                    place=("objectives", metric),
                )
        for key in self.overrides:
            if key in self.space:
                raise refuse(f"{key!r} is searched: it cannot be set as well", place=("set", key))
        if len(set(self.also)) < len(self.also) or self.start in self.also:
            raise refuse("names a variant twice, or the one that `from` names", place=("also",))
        endless = next((key for key, dimension in self.space.items() if not dimension.is_finite), None)
        if self.sampler == "grid" and endless is not None:
            raise refuse(
                "a grid needs a step, or a list of values: this range holds any number",
                hint="sampler: tpe",
                place=("space", endless),
            )
        if self.pruner != "none" and "accuracy" not in self.objectives:
            raise refuse(
                "stops trials whose accuracy falls behind, but accuracy is no objective",
                hint="pruner: none",
                place=("pruner",),
            )
        return self

    def seeds_beside(self, reported: tuple[int, ...]) -> tuple[int, ...]:
        """The tuning seeds, none of which is reported."""
        if self.seeds is not None:
            return self.seeds
        free = (seed for seed in range(FIRST_SEED, FIRST_SEED + 2 * 1000) if seed not in reported)
        return tuple(next(free) for _ in range(DEFAULT_SEEDS))
