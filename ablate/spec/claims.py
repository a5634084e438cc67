"""Claims: sentences that the evidence supports, refutes or leaves open, each with a bound on a figure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from ablate.spec.names import PartName
from ablate.spec.settings import Frozen, Names
from ablate.spec.source import Place
from ablate.spec.words import must_be, refuse, show

Metric = Literal["accuracy", "param_count", "macs", "latency_ms", "peak_memory_bytes"]
_BOUNDS = ("at_least", "at_most", "between")


def _to_pair(value: Any) -> Any:
    if value is None or isinstance(value, tuple):
        return value
    numbers = isinstance(value, list) and len(value) == 2
    if not numbers or not all(isinstance(x, int | float) and not isinstance(x, bool) for x in value):
        raise must_be("two numbers, [low, high]", value)
    if not value[0] < value[1]:
        raise must_be("[low, high] with the lower number first", value)
    return tuple(value)


_PAIR = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}


class _Bounded(Frozen):
    """id and say name the claim in reports. Exactly one of at_least, at_most, between is given."""

    id: PartName
    say: str = ""
    metric: Metric = "accuracy"
    at_least: float | None = None
    at_most: float | None = None
    between: Annotated[tuple[float, float] | None, BeforeValidator(_to_pair), WithJsonSchema(_PAIR)] = None

    @model_validator(mode="after")
    def _one_bound(self) -> _Bounded:
        given = [name for name in _BOUNDS if getattr(self, name) is not None]
        if len(given) != 1:
            got = " and ".join(given) or "none"
            raise refuse(f"a claim has exactly one bound, got {got}", allowed=_BOUNDS)
        return self

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """(low, high); None where the claim sets no limit."""
        return self.between if self.between is not None else (self.at_least, self.at_most)

    def variants_named(self) -> list[tuple[Place, str]]:
        """The variants that the claim names, each with its place in the claim."""
        return []


class _Pairwise(_Bounded):
    of: str
    against: Names = Field(description="one variant, or several, meaning each of them")

    @model_validator(mode="after")
    def _not_itself(self) -> _Pairwise:
        if self.of in self.against:
            raise refuse(f"{self.of!r} is compared with itself", place=("against",))
        return self

    def variants_named(self) -> list[tuple[Place, str]]:
        several: list[tuple[Place, str]] = [
            (("against", index), name) for index, name in enumerate(self.against)
        ]
        return [(("of",), self.of), *several]


class Difference(_Pairwise):
    """`of` minus `against`, in the metric's unit (accuracy: percentage points)."""

    kind: Literal["difference"]


class Ratio(_Pairwise):
    """`of` divided by `against`."""

    kind: Literal["ratio"]


class Trend(_Bounded):
    """The metric's slope over a sweep of numbers, by its `as`; `of`: its `from`, where several share that."""

    kind: Literal["trend"]
    over: str
    of: str | None = None


class Contrast(_Bounded):
    """A weighted sum of variants whose weights add up to zero."""

    kind: Literal["contrast"]
    of: dict[str, float] = Field(min_length=2, description="variant: weight; the weights add up to zero")

    @model_validator(mode="after")
    def _sums_to_zero(self) -> Contrast:
        total = sum(self.of.values())
        if abs(total) > 1e-9 * max(abs(weight) for weight in self.of.values()) or 0 in self.of.values():
            raise refuse(f"weights must add up to 0 and none may be 0, got {show(self.of)}", place=("of",))
        return self

    def variants_named(self) -> list[tuple[Place, str]]:
        return [(("of", name), name) for name in self.of]


class Interaction(_Bounded):
    """What factors of a factorial give beyond their sum; `within`: other factors held on or off."""

    kind: Literal["interaction"]
    of: Names = Field(description="two or more factors of a factorial design")
    within: dict[str, bool] = Field(default_factory=dict, description="factor: true or false")

    @model_validator(mode="after")
    def _several(self) -> Interaction:
        if len(set(self.of)) < 2 or len(set(self.of)) < len(self.of):
            raise must_be("a list of two or more different factors", self.of, place=("of",))
        both = set(self.of) & set(self.within)
        if both:
            raise refuse(f"{min(both)!r} cannot be held and varied at once", place=("within", min(both)))
        return self


Claim = Annotated[Difference | Ratio | Trend | Contrast | Interaction, Field(discriminator="kind")]
CLAIMS: dict[str, type[Difference] | type[Ratio] | type[Trend] | type[Contrast] | type[Interaction]] = {
    "difference": Difference,
    "ratio": Ratio,
    "trend": Trend,
    "contrast": Contrast,
    "interaction": Interaction,
}
