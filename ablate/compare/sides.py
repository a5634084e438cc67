"""What a person means by the two names of `ablate compare A B`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ablate.errors import AblateError, StoreError, did_you_mean
from ablate.record import PlannedVariant, StudyPlan
from ablate.store import Store


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison. said: as the user wrote it. variant: None for a whole study."""

    said: str
    store: Store
    plan: StudyPlan
    variant: str | None = None

    @property
    def same_place(self) -> tuple[str, str]:
        return str(self.store.root.absolute()), self.plan.study


def find_sides(
    of: str, against: str, *, output: str | Path = "results", study: str | None = None
) -> tuple[Side, Side]:
    """Both sides, of one kind: two variants, or two studies, which may lie in two trees.

    A side is VARIANT (of `study`, or of the study run last), STUDY/VARIANT, STUDY, a study's folder, its
    VARIANT (DIR/STUDY/VARIANT), or a results tree; of two trees `study` says which study, unless they share
    but one. AblateError for what is not there, for two kinds, and for a side compared with itself.
    """
    one, other = _as_tree(of), _as_tree(against)
    if one is not None and other is not None:
        name = study or _shared_study(one, other)
        first, second = _study(of, one, name), _study(against, other, name)
    else:
        first, second = (_side(said, Store(output), study) for said in (of, against))
    if (first.variant is None) != (second.variant is None):
        whole, part = (first, second) if first.variant is None else (second, first)
        raise AblateError(
            f"{whole.said!r} is a study and {part.said!r} a variant: compare two variants, or two studies\n"
            f"    allowed: {', '.join(f'{whole.plan.study}/{each.name}' for each in whole.plan.variants)}"
        )
    if first.same_place == second.same_place and first.variant == second.variant:
        what = "study" if first.variant is None else "variant"
        raise AblateError(f"{of!r} and {against!r} are one {what}: name two")
    return first, second


def _as_tree(said: str) -> Store | None:
    """A folder that is a results tree, and no study's."""
    folder = Path(said)
    if not folder.is_dir() or (folder / "plan.json").is_file():
        return None
    store = Store(folder)
    return store if store.studies() else None


def _shared_study(first: Store, second: Store) -> str:
    known, other = first.studies(), second.studies()
    shared = [name for name in known if name in other]
    if len(shared) == 1:
        return shared[0]
    if shared:
        raise AblateError(
            f"{first.root} and {second.root} share {len(shared)} studies: say which with --study\n"
            f"    allowed: {', '.join(shared)}"
        )
    raise AblateError(
        f"{first.root} and {second.root} share no study: {first.root} has {', '.join(known)}; {second.root} "
        f"has {', '.join(other)}"
    )


def _study(said: str, store: Store, name: str) -> Side:
    return Side(said, store, _plan(store, name))


def _plan(store: Store, name: str) -> StudyPlan:
    plan = store.read_plan(name) if name in store.studies() else None
    if plan is None:
        known = store.studies()
        hint = did_you_mean(name, known) or f"there is: {', '.join(known) or 'none'}"
        raise StoreError(f"no study {name!r} was run under {store.root}\n    {hint}")
    return plan


def _side(said: str, store: Store, study: str | None) -> Side:
    found = _in_a_folder(said) or _by_name(said, store, study)
    if found is not None:
        return found
    chosen = study or store.read_last()
    plans = [_plan(store, chosen)] if chosen else []
    names = [name for plan in plans for each in plan.variants for name in (each.name, *each.aliases)]
    known = [*names, *store.studies()]
    hint = did_you_mean(said, known) or f"there is: {', '.join(known) or 'nothing yet'}"
    where = f"the study {chosen!r} has no variant" if chosen else "there is no variant"
    raise AblateError(
        f"{where} {said!r}, and {store.root} no study of that name\n    {hint}\n"
        "    allowed: VARIANT (with --study STUDY, or of the study run last), STUDY/VARIANT, STUDY, or DIR"
    )


def _in_a_folder(said: str) -> Side | None:
    """DIR/STUDY, or DIR/STUDY/VARIANT; a variant's own name may hold a slash."""
    path = Path(said)
    for folder in (path, *path.parents):
        if (folder / "plan.json").is_file():
            store = Store(folder.parent if folder.name else folder.absolute().parent)
            plan = _plan(store, folder.absolute().name)
            rest = str(path.relative_to(folder)) if folder != path else ""
            return Side(said, store, plan, _variant(plan, rest).name if rest else None)
    return None


def _by_name(said: str, store: Store, study: str | None) -> Side | None:
    chosen = study or store.read_last()
    plan = _plan(store, chosen) if chosen else None
    variant = _find(plan, said) if plan is not None else None
    is_study = said in store.studies()
    if plan is not None and variant is not None and is_study and study is None:
        raise AblateError(
            f"{said!r} is a study, and a variant of {plan.study!r}, too\n"
            f"    write {plan.study}/{said} for the variant, {store.root / said} for the study"
        )
    if plan is not None and variant is not None:
        return Side(said, store, plan, variant.name)
    if is_study:
        return _study(said, store, said)
    name, slash, rest = said.partition("/")
    if slash and name in store.studies():
        named = _plan(store, name)
        return Side(said, store, named, _variant(named, rest).name)
    return None


def _find(plan: StudyPlan, name: str) -> PlannedVariant | None:
    return next((each for each in plan.variants if name in (each.name, *each.aliases)), None)


def _variant(plan: StudyPlan, name: str) -> PlannedVariant:
    found = _find(plan, name)
    if found is None:
        known = [alias for each in plan.variants for alias in (each.name, *each.aliases)]
        hint = did_you_mean(name, known)
        raise AblateError(
            f"the study {plan.study!r} has no variant {name!r}\n    allowed: {', '.join(known)}"
            + (f"\n    {hint}" if hint else "")
        )
    return found
