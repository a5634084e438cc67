"""The page: every number there and linked to its trials, equal for equal rows, and text that stays text."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from ablate.record import CostRecord, Failure, PlannedDesign, PlannedSweep
from ablate.report import build_report, render, write_report
from ablate.report.headline import headline, open_report
from ablate.report.html import render_html
from ablate.report.rows import PretrainingRow, Report, TwinRow
from ablate.stats import summarise

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(1)</script>",
    "javascript:alert(1)",
    "' onmouseover=alert(1) x='",
    "<!--",
]


class Page(HTMLParser):
    """What a browser makes of it. Text inside the page's own scripts and styles is not shown."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text.append(data)

    @property
    def shown(self) -> str:
        return " ".join(" ".join(self.text).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def shape(self) -> list[tuple[str, list[str]]]:
        return [(tag, sorted(attributes)) for tag, attributes in self.elements]


def test_the_answer_comes_first_in_the_words_of_the_markdown(msa: Any) -> None:
    report = build_report(msa.store, "msa")
    shown = Page(render_html(report)).shown
    opening = open_report(report)
    places = [shown.index(" ".join(said.split())) for said in (opening.answer, *opening.others)]
    assert places == sorted(places) and places[-1] < shown.index("Sort by")
    assert headline(report)[0] == opening.answer


def test_every_variant_stands_there_with_its_figures(msa: Any) -> None:
    report = build_report(msa.store, "msa")
    shown = Page(render_html(report)).shown
    for row in report.variants:
        assert row.accuracy is not None
        assert f"{row.name} " in shown
        assert f"{row.accuracy.mean:.2f} ± {row.accuracy.std:.2f}" in shown
        assert f"[{row.accuracy.low:.2f}, {row.accuracy.high:.2f}]" in shown
        if row.against:
            assert row.against.judgement.verdict in shown


def test_every_number_leads_to_its_trials(msa: Any) -> None:
    report = build_report(msa.store, "msa")
    text = render_html(report)
    page = Page(text)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [one for one in page.all("a") if "data-v" in one]
    assert {one["href"].removeprefix("#") for one in links} <= set(ids)
    for place, row in enumerate(report.variants):
        own = [one for one in links if one["data-v"] == str(place)]
        assert len(own) >= 2, row.name  # its name and its n
    records = {one["href"] for one in page.all("a") if one["href"].endswith("record.json")}
    assert records == {f"../trials/{trial.id}/record.json" for trial in report.trials}
    folder = msa.root / "msa"
    assert all((folder / record).resolve().is_file() for record in records)
    effect = next(row for row in report.effects if row.kind == "main" and not row.view)
    behind = " ".join(str([r.name for r in report.variants].index(name)) for name in effect.cells)
    assert len(effect.cells) == 8 and any(one["data-v"] == behind for one in links)


def test_equal_rows_give_equal_bytes(msa: Any) -> None:
    first = render_html(build_report(msa.store, "msa"))
    assert render(build_report(msa.store, "msa"), "html") == first


def test_nothing_is_loaded_from_anywhere(msa: Any) -> None:
    page = Page(render_html(build_report(msa.store, "msa")))
    loading = {"link", "img", "iframe", "object", "embed", "video", "audio", "source", "form", "base"}
    assert [one for tag in loading for one in page.all(tag)] == [{"rel": "icon", "href": "data:,"}]
    assert len(page.all("script")) == 2 and not any("src" in one for one in page.all("script"))
    for _, attributes in page.elements:
        assert not any(name == "style" or name.startswith("on") for name in attributes)
        for name in ("href", "src", "xlink:href"):
            assert ":" not in attributes.get(name, "").replace("data:,", "")


def test_charts_have_names_and_one_stop_for_the_keyboard(msa: Any) -> None:
    page = Page(render_html(build_report(msa.store, "msa")))
    charts = [one for one in page.all("svg") if one.get("role") == "group"]
    assert len(charts) > 40 and all(one["aria-label"] for one in charts)
    marks = [one for one in page.all("g") if one.get("role") == "button"]
    assert marks and all(one["aria-label"] and one["tabindex"] == "-1" for one in marks)
    for kind in ("td", "th"):
        assert not any(one.get("class") == "verdict" for one in page.all(kind))
    shapes = {one["href"] for one in page.all("use")}
    symbols = {f"#{one['id']}" for one in page.all("symbol")}
    assert shapes <= symbols


def test_a_verdict_is_a_word_with_a_shape(msa: Any) -> None:
    text = render_html(build_report(msa.store, "msa"))
    for verdict, shape in (("better", "up"), ("worse", "down")):
        found = re.findall(rf'href="#s-([a-z-]+)"/></svg>{verdict}</span>', text)
        assert found and set(found) == {shape}


def full(tree: Any, said: Callable[[str], str]) -> Report:
    """A study whose every free text is `said(…)` of a plain one, with all parts that a page can have."""
    names = {name: said(name) for name in ("base", "part", "level", "other", "lost", "wide")}
    tree.title, tree.baseline = said("title"), names["base"]
    settings = {said("model.x"): {said("inner"): said("value")}, "list": [said("a"), said("b")]}
    tree.add_variant(names["base"], {seed: 84.0 + seed / 10 for seed in range(5)})
    scores = {seed: 86.0 + seed / 10 for seed in range(5)}
    tree.add_variant(
        names["part"],
        scores,
        aliases=(said("alias"),),
        warnings=(said("warning"),),
        switches={said("switch"): True},
        settings=settings,
        params=290_000,
        environment=tree.environment(device_name=said("device"), platform=said("platform")),
    )
    tree.add_variant(names["other"], scores, settings=settings, twin_of=names["part"])
    tree.add_variant(names["level"], {seed: 85.0 + seed / 10 for seed in range(5)}, origin="sweep")
    tree.add_variant(names["wide"], {seed: 85.0 + seed / 10 for seed in range(5)}, origin="control")
    tree.add_variant(names["lost"], {0: None, 1: None})
    tree.sweeps = [
        PlannedSweep(
            name=said("sweep"),
            setting=said("setting"),
            start=names["part"],
            levels=((said("label"), names["level"]),),
            numeric=False,
        )
    ]
    factor = said("factor")
    cells = (((), names["base"]), ((factor,), names["part"]))
    tree.designs = [PlannedDesign(kind="factorial", start=names["part"], factors=(factor,), cells=cells)]
    claim = {"kind": "difference", "metric": "accuracy", "of": names["part"], "against": [names["base"]]}
    tree.claims = ({"id": "C1", "say": said("claim"), "at_least": 0.0} | claim,)
    for variant in tree.variants:
        for seed in (0, 1):
            record = tree.store.read_trial(variant.trials[seed])
            if record.failure is not None:
                failure = Failure(
                    kind="exception",
                    error=said("Error"),
                    message=said("message"),
                    where=said("net.py"),
                    traceback=said("traceback"),
                    log_tail=(said("tail"),),
                )
                tree.store.write_trial(record.model_copy(update={"failure": failure}))
    plan = tree.plan()
    data = plan.data | {"source": said("source")}
    recipe = {**plan.recipe, "data": {**plan.recipe["data"], "augment": {said("augment"): said("much")}}}
    tree.store.write_plan(plan.model_copy(update={"data": data, "recipe": recipe}))
    report = build_report(tree.store, tree.study)
    pretraining = PretrainingRow(said("pre"), 2, summarise([80.0, 81.0]), 10, 3, (said("why"),))
    twin = TwinRow(said("twin"), names["part"], (0, 1), (said("idle"),))
    return replace(report, pretraining=(pretraining,), twins=(*report.twins, twin), look_page=True)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_study_can_become_markup(tree: Any, tmp_path: Any, text: str) -> None:
    """With hostile texts the page has the very elements and attributes that it has with tame ones."""
    told: set[str] = set()

    def hostile(plain: str) -> str:
        told.add(plain)
        return f"{plain} {text}"

    tame = re.sub(r"\W", "x", text)
    one = Page(render_html(full(tree, hostile)))
    other = type(tree)(tmp_path / "tame")
    two = Page(render_html(full(other, lambda plain: f"{plain} {tame}")))
    assert one.shape == two.shape
    for plain in told - {"tail", "platform"}:
        assert f"{plain} {text}" in " ".join(one.text), plain
    for _, attributes in one.elements:
        assert not any(name == "style" or name.startswith("on") for name in attributes)
        assert ":" not in attributes.get("href", "").replace("data:,", "")


def test_half_a_character_and_control_characters_cannot_break_the_file(tree: Any) -> None:
    text = render_html(full(tree, lambda plain: f"{plain}\x00\x1b[31m\r\n" if plain == "message" else plain))
    text.encode()
    assert "\x00" not in text and "\x1b" not in text


def test_a_study_without_a_finished_trial_is_a_page_too(tree: Any) -> None:
    tree.add_variant("baseline", {})
    tree.add_variant("se", {0: None})
    tree.plan()
    report = build_report(tree.store, "msa")
    shown = Page(render_html(report)).shown
    assert headline(report)[0] in shown and "still to run" in shown and "non-finite" in shown


def test_one_seed_a_variant_is_drawn_without_an_interval(tree: Any) -> None:
    tree.seeds = (0,)
    tree.add_variant("baseline", {0: 84.68})
    tree.add_variant("se", {0: 85.38})
    tree.plan()
    text = render_html(build_report(tree.store, "msa"))
    assert (
        "undecidable" in text
        and "nan" not in text.replace("finance", "")
        and "inf" not in re.findall(r'"([^"]*)"', text)
    )
    assert 'class="interval"' not in text


def test_a_page_of_images_beside_it_is_linked(tree: Any) -> None:
    tree.add_variant("baseline", {0: 84.0})
    tree.plan()
    assert not any(
        one["href"] == "look.html" for one in Page(render(build_report(tree.store, "msa"), "html")).all("a")
    )
    (tree.root / "msa" / "look.html").write_text("x")
    assert any(
        one["href"] == "look.html" for one in Page(render(build_report(tree.store, "msa"), "html")).all("a")
    )


def test_a_trial_that_did_not_learn_does_not_squeeze_the_others(tree: Any) -> None:
    tree.add_variant("baseline", {seed: 84.0 + seed / 10 for seed in range(5)})
    tree.add_variant("se", {**{seed: 85.0 + seed / 10 for seed in range(4)}, 4: 10.0})
    tree.plan()
    text = render_html(build_report(tree.store, "msa"))
    assert "1 did not learn" in text
    strip = re.search(r'<svg[^>]*aria-label="baseline: 84.20[^>]*>(.*?)</svg>', text)
    assert strip is not None
    dots = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"[^>]*class="seed"', strip.group(1))]
    assert len(dots) == 5 and max(dots) - min(dots) > 10  # of 250 units, though a trial lies 74 points away


def test_measured_costs_have_columns_and_a_chart(tree: Any) -> None:
    tree.add_variant("baseline", {seed: 84.0 + seed / 10 for seed in range(5)})
    tree.add_variant("se", {seed: 85.0 + seed / 10 for seed in range(5)})
    for variant, latency in zip(tree.variants, (1.25, 2.5), strict=True):
        (record,) = tree.store.read_costs(variant.cost_id)
        rounds = tuple(latency + place / 100 for place in range(6))
        told = {"latency_ms": latency, "latency_rounds_ms": rounds, "latency_session": "2025-01-01T00:00:00Z"}
        tree.store.write_cost(CostRecord(**(record.model_dump() | told)))
    tree.plan()
    shown = Page(render_html(build_report(tree.store, "msa"))).shown
    ratios = [(2.5 + place / 100) / (1.25 + place / 100) for place in range(6)]
    means = [
        statistics.geometric_mean([latency + place / 100 for place in range(6)]) for latency in (1.25, 2.5)
    ]
    assert f"{means[0]:.3f} –" in shown
    assert f"{means[1]:.3f} × {statistics.geometric_mean(ratios):.2f}" in shown
    assert "Latency of one image on box-cpu, ms" in shown


def test_every_report_writes_the_page_beside_the_markdown(tree: Any) -> None:
    tree.add_variant("baseline", {seed: 84.0 + seed / 10 for seed in range(5)})
    tree.add_variant("se", {seed: 85.0 + seed / 10 for seed in range(5)})
    tree.plan()
    folder = write_report(tree.store, "msa").parent
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    beside = [one["href"] for one in page.all("a") if one["href"].endswith((".md", ".csv", "report.json"))]
    assert len(beside) == 4 and all((folder / name).is_file() for name in beside)
