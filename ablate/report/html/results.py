"""The table of the variants, to be sorted and filtered, and the statistics behind its verdicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ablate.report import numbers
from ablate.report.costs import MeasuredRow
from ablate.report.html.axes import Scale
from ablate.report.html.strips import accuracy_scale, accuracy_strip, axis
from ablate.report.html.words import (
    Places,
    bullets,
    folded,
    notes,
    printed,
    scrolling,
    settings_in_words,
    table,
    two_lines,
    verdict,
)
from ablate.report.printed import (
    SECONDARY_NOTE,
    comparison_tables,
    judged_note,
    reasons,
    results_table,
    secondary_table,
)
from ablate.report.printed import verdict as verdict_of
from ablate.report.remarks import twin_sentence
from ablate.report.rows import Report, VariantRow
from ablate.report.tuning import settings_line
from ablate.web import Html, element, join

_MIB = 2**20


def results(report: Report, places: Places) -> Html:
    if report.costs_alone:
        return join([printed(results_table(report)), *_below(report)])
    scale = accuracy_scale(report.variants)
    base = report.baseline_row
    columns = _columns(report)
    switches = list(dict.fromkeys(name for row in report.variants for name in row.switches))
    head = element(
        "tr",
        _sorter("Variant", "name"),
        join(element("th", element("span", name), scope="col", class_="switch") for name in switches),
        element(
            "th",
            element("span", "Accuracy, %", class_="unseen"),
            axis(scale, "accuracy in percent"),
            scope="col",
            class_="drawn",
        ),
        join(_sorter(title, key, figure=key not in ("verdict",)) for key, title in columns),
    )
    mean = base.accuracy.mean if base.accuracy else None
    body = join(
        _row(report, row, switches, columns, scale, mean, settings, places)
        for row, settings in zip(report.variants, telling_settings(report.variants), strict=True)
    )
    whole = element(
        "table",
        element("caption", f"All {numbers.counted(len(report.variants), 'variant')}", class_="unseen"),
        element("thead", head),
        element("tbody", body),
        id="variants",
        class_="variants",
    )
    return join([_toolbar(report, columns), scrolling(whole, "Table of the variants"), *_below(report)])


def telling_settings(rows: Sequence[VariantRow]) -> list[list[tuple[str, str]]]:
    """The settings of each variant, those first that few others share; keys as short as tells them apart."""
    every = [settings_in_words(row.settings) for row in rows]
    shared = Counter(pair for pairs in every for pair in pairs)
    keys = {key for pairs in every for key, _ in pairs}
    ends = Counter(key.rpartition(".")[2] for key in keys)
    short = {key: end if ends[end := key.rpartition(".")[2]] == 1 else key for key in keys}
    return [
        [(short[key], value) for key, value in sorted(pairs, key=lambda pair: shared[pair])]
        for pairs in every
    ]


def group(row: VariantRow) -> str:
    """What a variant is there for: "variants", "controls", "sweep reduction"."""
    return row.against.family if row.against else "variants"


def _columns(report: Report) -> list[tuple[str, str]]:
    """(key, title) of what is sorted by; a cost that nothing measured has no column."""
    found = [("n", "n"), ("accuracy", "Accuracy, %"), ("delta", "Δ, points"), ("verdict", "Verdict")]
    known = {
        "param_count": any(row.param_count is not None for row in report.variants),
        "macs": any(row.macs is not None for row in report.variants),
        "latency_ms": any(row.latency_ms is not None for row in measured_rows(report).values()),
        "peak_memory_bytes": any(row.peak_memory_bytes is not None for row in measured_rows(report).values()),
    }
    titles = ("Parameters", "MACs", "Latency, ms", "Memory, MiB")
    return found + [
        (key, title) for (key, is_known), title in zip(known.items(), titles, strict=True) if is_known
    ]


def _sorter(title: str, key: str, *, figure: bool = False) -> Html:
    button = element("button", title, type="button", class_="sort", data_sort=key)
    return element(
        "th", button, scope="col", aria_sort="none", class_="figure" if figure else None, data_key=key
    )


def _toolbar(report: Report, columns: Sequence[tuple[str, str]]) -> Html:
    verdicts = dict.fromkeys(verdict_of(row) for row in report.variants)
    groups = dict.fromkeys(group(row) for row in report.variants)
    return element(
        "div",
        element("label", "Find", element("input", type="search", id="find", placeholder="name or setting")),
        _choice("only-verdict", "Verdict", ["", *verdicts], "all"),
        _choice("only-group", "Group", ["", *groups], "all") if len(groups) > 1 else None,
        _choice(
            "sort-by",
            "Sort by",
            ["", "name", *(key for key, _ in columns)],
            "the study's order",
            dict(columns),
        ),
        element("span", "", id="shown", class_="said", role="status"),
        class_="toolbar",
        id="tools",
        hidden=True,
    )


def _choice(
    id: str, label: str, values: Sequence[str], none: str, titles: dict[str, str] | None = None
) -> Html:
    said = {"": none, "name": "Variant"} | (titles or {})
    options = join(element("option", said.get(value, value), value=value) for value in values)
    return element("label", label, element("select", options, id=id))


def _row(
    report: Report,
    row: VariantRow,
    switches: Sequence[str],
    columns: Sequence[tuple[str, str]],
    scale: Scale,
    base: float | None,
    settings: Sequence[tuple[str, str]],
    places: Places,
) -> Html:
    place = places.variants[row.name]
    cells = _cells(report, row, places)
    return element(
        "tr",
        element("th", _name(row, settings, places), scope="row", data_s=row.name),
        join(element("td", _switch(row, name), class_="switch") for name in switches),
        element("td", accuracy_strip(row, scale, base, places), class_="drawn"),
        join(
            element(
                "td",
                cells[key][0],
                class_=None if key == "verdict" else "figure",
                data_s=cells[key][1],
                data_label=title,
                data_key=key,
            )
            for key, title in columns
        ),
        id=f"r{place}",
        data_v=place,
        data_verdict=verdict_of(row),
        data_group=group(row),
        class_="baseline" if row.name == report.baseline else None,
    )


def _name(row: VariantRow, said_of: Sequence[tuple[str, str]], places: Places) -> Html:
    said = [
        *(["mixed environments"] if row.mixed else []),
        *([f"{len(row.did_not_learn)} did not learn"] if row.did_not_learn else []),
        *([f"{row.failed} failed"] if row.failed else []),
        *(["warning"] if row.warnings else []),
    ]
    settings = ", ".join(f"{key} {value}" for key, value in said_of)
    return join(
        [
            places.link(row.name, row.name, class_="name"),
            element("span", f" = {', '.join(row.aliases)}", class_="under") if row.aliases else "",
            element("div", join((element("span", one) for one in said), " "), class_="tags") if said else "",
            element("div", settings, class_="settings", title=settings) if settings else "",
        ]
    )


def _switch(row: VariantRow, name: str) -> Html:
    on = row.switches.get(name)
    said = {True: "on", False: "off", None: "none"}[on]
    return element("span", class_=f"dot {said}", role="img", aria_label=f"{name} {said}")


def _cells(report: Report, row: VariantRow, places: Places) -> dict[str, tuple[object, str | None]]:
    """What stands in each column, and what it is sorted by."""
    base = None if row.name == report.baseline else report.baseline_row
    shown = str(row.n) if row.n == row.planned else f"{row.n}/{row.planned}"
    accuracy, against = row.accuracy, row.against
    delta = against.judgement.evidence.estimate.value if against else math.nan
    return {
        "n": (places.link(shown, row.name), str(row.n)),
        "accuracy": (
            two_lines(
                numbers.mean_and_std(accuracy), numbers.interval(accuracy.low, accuracy.high, sign=False)
            )
            if accuracy
            else numbers.NONE,
            _key(accuracy.mean if accuracy else None),
        ),
        "delta": (
            two_lines(numbers.difference(against.judgement), numbers.interval(*against.judgement.deciding))
            if against and not math.isnan(delta)
            else numbers.NONE,
            _key(delta),
        ),
        "verdict": (verdict(verdict_of(row)), verdict_of(row)),
        "param_count": _counted(
            numbers.count(row.param_count), row.param_count, base.param_count if base else None
        ),
        "macs": _counted(numbers.macs(row.macs), row.macs, base.macs if base else None),
        **_measured(measured_rows(report).get(row.name)),
    }


def measured_rows(report: Report) -> dict[str, MeasuredRow]:
    """By variant, of one machine: the first, for only figures of one are compared."""
    machine = next((row.machine for row in report.costs.machines), None)
    return {row.variant: row for row in report.costs.measured if row.machine == machine}


def _counted(shown: str, value: float | None, base: float | None) -> tuple[object, str | None]:
    if value is None:
        return numbers.NONE, None
    return two_lines(shown, numbers.NONE if base is None else numbers.share(value - base, base)), _key(value)


def _measured(row: MeasuredRow | None) -> dict[str, tuple[object, str | None]]:
    """Latency as a multiple of the baseline's in one session, memory in percent more."""
    nothing: tuple[object, str | None] = (numbers.NONE, None)
    latency, memory = nothing, nothing
    if row is not None and row.latency_ms is not None:
        ratio = numbers.NONE if row.against is None else f"× {row.against.ratio:.2f}"
        mean_ms = row.latency_ms if row.rounds_mean_ms is None else row.rounds_mean_ms
        latency = two_lines(f"{mean_ms:,.3f}", ratio), _key(mean_ms)
    if row is not None and row.peak_memory_bytes is not None:
        percent = row.memory_percent
        more = numbers.NONE if percent is None else f"{percent:+.2f} %".replace("-", "−")
        memory = two_lines(f"{row.peak_memory_bytes / _MIB:,.1f}", more), _key(row.peak_memory_bytes)
    return {"latency_ms": latency, "peak_memory_bytes": memory}


def _key(value: float | None) -> str | None:
    return None if value is None or math.isnan(value) else f"{value:.10g}"


def _below(report: Report) -> list[Html]:
    base = report.baseline_row
    level = f"{100 * (1 - report.procedure.level):g} %"
    costs = [
        f"{numbers.count(base.param_count)} parameters" if base.param_count else "",
        f"{numbers.macs(base.macs)} MACs" if base.macs else "",
    ]
    scored = [
        "Accuracy on the test images after the last epoch: mean ± standard deviation over n seeds, below it "
        f"the {level} interval of the mean. In the drawing a large dot is the mean, the line its interval, "
        f"each small dot a seed, the dashed line the mean of {base.name}. Δ: difference from {base.name}, "
        "below it the interval that its verdict rests on."
    ]
    found = [] if report.costs_alone else scored
    known = " and ".join(cost for cost in costs if cost)
    if known:
        found.append(f"Changes of costs are in percent of what {base.name} costs: {known}.")
    if report.costs.machines:
        found.append(
            "Latency: geometric mean of the rounds at batch 1, each the median of its calls, and as a "
            f"multiple of {base.name}'s in the same session. Memory: the peak of a training step. Both on "
            f"{report.costs.machines[0].machine}."
        )
    mixed = [f"{row.name} ({', '.join(row.mixed)})" for row in report.variants if row.mixed]
    if mixed:
        found.append(f"Mixed environments: {'; '.join(mixed)} differ among the trials compared.")
    warnings = [f"{row.name}: {'; '.join(row.warnings)}" for row in report.variants if row.warnings]
    found += [f"Warning: {warning}." for warning in warnings]
    found += [twin_sentence(row) for row in report.twins]
    found += filter(None, [settings_line(report.promoted)])
    return [notes(found), _statistics(report), _secondary(report)]


def _statistics(report: Report) -> Html:
    compared = [(row, row.against) for row in report.variants if row.against is not None]
    if not compared:
        return Html()
    said = [
        judged_note(report, [against.judgement for _, against in compared]),
        "On new images: the same difference, its interval for both sides allowing for other test images, "
        "too; all other intervals speak of this test set.",
    ]
    told = reasons((row.name, against.judgement, against.reason) for row, against in compared)
    return folded(
        f"All statistics of the comparisons with {report.baseline}",
        *(printed(one, titled=True) for one in comparison_tables(report)),
        notes(said),
        bullets(told, "note"),
    )


def _secondary(report: Report) -> Html:
    header, rows = secondary_table(report)
    if not rows:
        return Html()
    return folded(
        "Secondary figures", table(header, rows, label="Secondary figures"), notes([SECONDARY_NOTE])
    )
