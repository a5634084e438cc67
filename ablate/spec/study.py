"""A whole study as frozen data. `ablate.spec.loader` makes one from a file; `ablate.variants` expands it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema

from ablate.spec.claims import Claim
from ablate.spec.dotted import lay_over
from ablate.spec.generators import Generator
from ablate.spec.matrix import Matrix
from ablate.spec.names import StudyName
from ablate.spec.seeds import read_seeds, seeds_schema
from ablate.spec.settings import Frozen, Settings
from ablate.spec.source import Document
from ablate.spec.sweeps import Design, Sweep
from ablate.spec.tune import Tune

MAX_SEEDS = 1000


def to_seeds(value: Any) -> Any:
    if isinstance(value, tuple):
        return value
    example = "write seeds: 5, or seeds: 0 for the costs alone"
    return read_seeds(value, first=0, fewest=0, most=MAX_SEEDS, example=example)


_SEEDS_SCHEMA = {"anyOf": seeds_schema(MAX_SEEDS, fewest=0)}
Scope = Annotated[str, AfterValidator(lambda text: " ".join(text.split()))]  # one line, however it is folded
Seeds = Annotated[tuple[int, ...], BeforeValidator(to_seeds), WithJsonSchema(_SEEDS_SCHEMA)]


class VariantSpec(Frozen):
    """Dotted settings on the defaults, or on another variant; a value replaces what was there as a whole."""

    settings: dict[str, Any] = Field(default_factory=dict)
    extends: str | None = None


class Control(Frozen):
    """The baseline with an argument of its backbone, `by`, raised until it costs what `to` costs."""

    match: Literal["params", "macs"]
    to: str = Field(description="the variant whose budget is matched")
    by: str = Field("width", min_length=1, description="the numeric argument of the backbone that is raised")

    def name(self, baseline: str) -> str:
        """Of the variant that it makes: ``"baseline params=msa"``."""
        how = "" if self.by == "width" else f" by={self.by}"
        return f"{baseline} {self.match}={self.to}{how}"


class Analysis(Frozen):
    """How variants are compared. margin: of equivalence, in percentage points; level: of significance."""

    test: Literal["welch", "paired", "dunnett"] = "welch"
    correction: Literal["holm", "none"] = "holm"
    margin: float = Field(0.5, gt=0, le=100)
    level: float = Field(0.05, gt=0, lt=0.5)


class Head(Frozen):
    """What a study says of itself, apart from its variants and what is made of them.

    seeds: none for a study of costs alone, which trains nothing.
    """

    name: StudyName
    title: str = ""
    scope: Scope = Field("", description="what the scale of the study can and cannot decide")
    baseline: str
    seeds: Seeds = (0, 1, 2, 3, 4)
    analysis: Analysis = Analysis()


class Study(Head):
    """A study file, checked. `document`: the file as read, with overrides, and the line of every key."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    defaults: Settings = Settings()
    pretraining: dict[str, VariantSpec] = Field(default_factory=dict)
    variants: dict[str, VariantSpec]
    sweeps: tuple[Sweep, ...] = ()
    designs: tuple[Design, ...] = ()
    matrix: tuple[Matrix, ...] = ()
    controls: tuple[Control, ...] = ()
    claims: tuple[Claim, ...] = ()
    tune: Tune | None = None
    document: Document = Field(exclude=True, repr=False, default_factory=lambda: Document("", {}, {}))

    def where(self, *place: str | int) -> str:
        """``"studies/msa.yaml:12"``: the line of a key of the study, ``where("variants", "msa")``."""
        return self.document.where(*place)

    def generators(self) -> tuple[tuple[tuple[str, int], Generator], ...]:
        """Sweeps, designs and matrix entries, each with its place in the file."""
        lists: dict[str, tuple[Generator, ...]] = {
            "sweeps": self.sweeps,
            "designs": self.designs,
            "matrix": self.matrix,
        }
        return tuple(((key, index), item) for key, items in lists.items() for index, item in enumerate(items))


def variant_data(
    defaults: Mapping[str, Any], variants: Mapping[str, VariantSpec], name: str
) -> dict[str, Any]:
    """The plain nested settings of a named variant: the defaults, what it extends, and its own on top.

    The chain of `extends` must be known to be free of circles and of unknown names.
    """
    spec = variants[name]
    base = defaults if spec.extends is None else variant_data(defaults, variants, spec.extends)
    return lay_over(base, spec.settings)[0]
