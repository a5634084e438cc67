"""The report's page in a real browser: it renders, sorts, filters, switches its theme, asks for nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablate.record import (
    Environment,
    Failure,
    PlannedSweep,
    PlannedVariant,
    StudyPlan,
    TrialMetrics,
    TrialRecord,
)
from ablate.report import build_report
from ablate.report.html import render_html
from ablate.store import Store

pytestmark = pytest.mark.browser

WIDE, PHONE = (1440, 900), (390, 844)
SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(2)>'
MEANS = {"baseline": 84.0, "se": 86.0, "cbam": 82.0, "eca": 84.1, "msa": 85.9}


def study(root: Path, said: Callable[[str], str] = str) -> Path:
    """A page of five variants and a failed one. said: what every free text becomes."""
    store = Store(root)
    environment = Environment(
        ablate="0.1.0",
        python="3.11.9",
        torch="2.6.0",
        numpy="2.1.0",
        platform="Linux",
        machine="box-cpu",
        cpu="A CPU",
        cpu_count=2,
        threads=1,
        device="cpu",
        device_name=said("A CPU"),
    )
    variants = []
    for place, name in enumerate([*MEANS, "lost"]):
        trials = {seed: f"{place:08x}{seed:08x}" for seed in range(5)}
        variants.append(
            PlannedVariant(
                name=said(name),
                id=f"{place:012x}",
                origin="sweep" if name == "msa" else "variant",
                settings={"model.attention.name": said(name)},
                cost_id=f"{place:016x}",
                trials=trials,
            )
        )
        for seed, trial in trials.items():
            accuracy = None if name == "lost" else MEANS[name] + 0.1 * ((seed + place) % 5)
            store.write_trial(_record(trial, seed, accuracy, environment, said))
            if accuracy is not None:
                store.trial(trial).epochs.write_text(_epochs(accuracy))
    sweep = PlannedSweep(
        name=said("kind"),
        setting=said("model.attention.name"),
        start=said("se"),
        levels=((said("msa"), said("msa")),),
        numeric=False,
    )
    claim = {
        "id": "C1",
        "say": said("se helps"),
        "kind": "difference",
        "metric": "accuracy",
        "of": said("se"),
        "against": [said("baseline")],
        "at_least": 0.0,
    }
    store.write_plan(
        StudyPlan(
            study="page",
            title=said("A study of gates"),
            baseline=said("baseline"),
            seeds=(0, 1, 2, 3, 4),
            variants=tuple(variants),
            sweeps=(sweep,),
            claims=(claim,),
            analysis={"test": "welch", "correction": "holm", "margin": 0.5, "level": 0.05},
            analysis_hash="0" * 64,
            planned="2025-01-01T00:00:00Z",
            data={"source": said("somewhere"), "test_count": 2000},
            recipe={},
        )
    )
    path = root / "page" / "report.html"
    path.write_text(render_html(build_report(store, "page")), encoding="utf-8")
    return path


def _record(
    trial: str, seed: int, accuracy: float | None, environment: Environment, said: Callable[[str], str]
) -> TrialRecord:
    failure = Failure(
        kind="exception", error="E", message=said("it broke"), where=said("net.py:3"), traceback=said("T")
    )
    metrics = accuracy and TrialMetrics(
        accuracy=accuracy,
        accuracy_best=accuracy,
        best_epoch=2,
        test_loss=0.4,
        validation_accuracy=accuracy + 1,
        validation_loss=0.4,
        train_accuracy=accuracy + 2,
        train_loss=0.3,
    )
    return TrialRecord(
        id=trial,
        variant_id=trial[:8],
        seed=seed,
        status="failed" if metrics is None else "done",
        identity={},
        test_count=2000,
        classes=10,
        metrics=metrics,
        failure=failure if metrics is None else None,
        environment=environment,
        started="2025-01-01T00:00:00Z",
        wall_s=10.0,
    )


def _epochs(accuracy: float) -> str:
    lines = [f"{epoch},{accuracy - 20 / epoch:.2f}" for epoch in range(1, 6)]
    return "\n".join(["epoch,validation_accuracy", *lines]) + "\n"


@pytest.fixture
def report_page(tmp_path: Path) -> Path:
    return study(tmp_path)


def choose(page: Any, id: str, value: str) -> None:
    page.find(f"#{id} option[value='{value}']").click()


def names(page: Any) -> list[str]:
    return page.texts("#variants tbody th .name")


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_renders_in_silence(open_page: Any, report_page: Path, size: tuple[int, int], dark: bool) -> None:
    page = open_page(report_page, size, dark=dark)
    assert page.find("h1").text == "A study of gates"
    assert sorted(names(page)) == sorted([*MEANS, "lost"])
    # As wide as the window: nothing to scroll to the right but what has a scroll bar of its own.
    assert page.run("return document.documentElement.scrollWidth") == size[0]
    boxes = page.run(
        "return [...document.querySelectorAll('svg.chart')].map((e) => e.getBoundingClientRect().height)"
    )
    assert boxes and min(boxes) > 60
    paper = page.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper.strip("rgb()").split(","))) < 200) == dark
    page.assert_silent()


def test_the_listener_hears_a_page_that_is_not_silent(open_page: Any, tmp_path: Path) -> None:
    path = tmp_path / "loud.html"
    path.write_text(
        "<title>x</title><link rel=icon href=data:,><script>console.error('heard'); alert(7)</script>"
        "<img src='beside.png'>"
    )
    page = open_page(path).listen()
    assert any("heard" in said for said in page.console)
    assert any(address.endswith("beside.png") for address in page.requests)
    assert page.run("return window.alerted") == "7"


def test_it_sorts_by_any_column_and_back(open_page: Any, report_page: Path) -> None:
    page = open_page(report_page)
    before = names(page)
    by_accuracy = sorted(MEANS, key=lambda name: -MEANS[name])
    head = page.find('button[data-sort="accuracy"]')
    head.click()
    assert names(page) == [*by_accuracy, "lost"]
    assert page.find('th[data-key="accuracy"]').get_attribute("aria-sort") == "descending"
    head.click()
    assert names(page) == [*reversed(by_accuracy), "lost"]
    head.click()
    assert names(page) == before
    choose(page, "sort-by", "name")
    assert names(page) == sorted(before)
    page.assert_silent()


def test_it_filters_by_words_verdict_and_group(open_page: Any, report_page: Path) -> None:
    page = open_page(report_page)
    find = page.find("#find")
    find.send_keys("CB")
    assert names(page) == ["cbam"] and page.find("#shown").text == "1 of 6 variants"
    assert page.run("return document.querySelectorAll('figure.off').length") == 4
    find.clear()
    find.send_keys(" ")
    assert len(names(page)) == 6
    choose(page, "only-verdict", "better")
    assert names(page) == ["se", "msa"]
    choose(page, "only-group", "variants")
    assert names(page) == ["se"]
    page.assert_silent()


def test_the_theme_is_switched_and_kept(open_page: Any, report_page: Path) -> None:
    page = open_page(report_page)
    paper = "return getComputedStyle(document.body).backgroundColor"
    light = page.run(paper)
    switch = page.find("[data-theme-switch]")
    assert switch.text == "Dark"
    switch.click()
    dark = page.run(paper)
    assert dark != light and switch.text == "Light"
    page.reload()
    assert page.run(paper) == dark and page.find("[data-theme-switch]").text == "Light"
    page.find("[data-theme-switch]").click()
    assert page.run(paper) == light
    page.assert_silent()


def test_a_number_leads_to_its_trials(open_page: Any, report_page: Path) -> None:
    page = open_page(report_page)
    page.find("#r1 td[data-key='n'] a").click()
    panel = page.find("#panel")
    assert panel.is_displayed() and page.texts("#panel h3") == ["se"]
    records = [one.get_attribute("href") for one in page.all("#panel a.id")]
    assert len(records) == 5
    for address in records:
        assert Path(address.removeprefix("file://")).is_file()
    page.find("#close").click()
    assert not panel.is_displayed()
    page.assert_silent()


def test_a_dot_tells_of_its_trial_and_opens_it(open_page: Any, report_page: Path) -> None:
    page = open_page(report_page)
    dot = page.find("#r1 circle.seed")
    page.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", dot)
    from selenium.webdriver import ActionChains

    ActionChains(page.driver).move_to_element(dot).perform()
    tip = page.find("#tip")
    assert tip.is_displayed() and tip.text == "se, seed 0: 86.10 % (trial 0000000100000000)"
    dot.click()
    assert page.texts("#panel tr.here th") == ["0"]
    page.assert_silent()


def test_the_keyboard_visits_the_points_of_a_chart(open_page: Any, report_page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    page = open_page(report_page)
    page.run("document.querySelector('#sweeps .mark').focus()")
    first = page.find("#tip").text
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    second = page.find("#tip").text
    assert first.startswith("se: ") and second.startswith("msa: ")
    assert page.run("return document.querySelectorAll('#sweeps .mark[tabindex=\"0\"]').length") == 1
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.texts("#panel h3") == ["msa"]
    page.assert_silent()


@pytest.mark.parametrize("text", [SCRIPT, IMAGE, "</script>" + SCRIPT, "javascript:alert(3)"])
def test_a_study_of_that_name_does_nothing(open_page: Any, tmp_path: Path, text: str) -> None:
    page = open_page(study(tmp_path, lambda plain: f"{plain}{text}"))
    assert page.find("h1").text == f"A study of gates{text}"
    assert names(page) == [f"{name}{text}" for name in [*MEANS, "lost"]]
    assert page.run("return document.images.length") == 0
    # What the page's own script shows of it is text, too.
    page.find("#r1 .name").click()
    assert page.texts("#panel h3") == [f"se{text}"]
    page.find("#close").click()
    page.run("document.querySelector('#sweeps .mark').focus()")
    assert text in page.find("#tip").text
    page.find("#find").send_keys(text[:8])
    page.assert_silent()


def test_the_policy_stops_what_escaping_would_have_missed(open_page: Any, report_page: Path) -> None:
    """A second wall: markup slipped into the finished page runs nothing and loads nothing."""
    slipped = (
        "<script>alert(4)</script><img src='beside.png' onerror='alert(5)'><p style='color: red'>x</p><h1>"
    )
    report_page.write_text(report_page.read_text().replace("<h1>", slipped, 1))
    page = open_page(report_page).listen()
    assert page.run("return window.alerted") is None
    assert (
        page.requests == [] and len([said for said in page.console if "Content Security Policy" in said]) >= 3
    )
    assert page.find("h1").text == "A study of gates"


def test_it_prints_unfolded(open_page: Any, report_page: Path) -> None:
    page = open_page(report_page)
    closed = "return document.querySelectorAll('details:not([open])').length"
    before = page.run(closed)
    assert before > 0
    page.run(f"addEventListener('beforeprint', () => {{ window.unfolded = (() => {{ {closed} }})(); }})")
    pdf = page.driver.execute_cdp_cmd("Page.printToPDF", {})
    assert pdf["data"].startswith("JVBERi0")  # %PDF-
    assert page.run("return window.unfolded") == 0 and page.run(closed) == before
