"""The page of `ablate look` in a real browser: the slider moves, variants, seeds and layers are chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablate.look.gates import gate_figures, verdict
from ablate.look.page import render_page
from ablate.look.rows import (
    AttentionRow,
    BranchRow,
    CamRow,
    ChangeRow,
    GateRow,
    ImageRow,
    LayerRow,
    Look,
    Prediction,
    TrialLook,
)

pytestmark = pytest.mark.browser

WIDE, PHONE = (1440, 900), (390, 844)
HOSTILE = '</script><script>alert(1)</script>"><img src=x onerror=alert(2)>'
IMAGES, CLASSES = 4, ("shirt", "coat", "shoe")
SHOWN = (
    "return [...document.querySelectorAll('{}')].filter(one => one.offsetParent).map(one => one.textContent)"
)


def trial(variant: str, seed: int, layers: tuple[str, ...], random: Any) -> TrialLook:
    """Right about every image but the second, and the surer the higher its seed. Gates but in a baseline."""
    values = random.uniform(0.2, 0.8, (30, 6, 1, 1)).astype(np.float32)
    labels = np.arange(30, dtype=np.int64) % 3
    figures = gate_figures(values, labels, changed=3)
    said, sentence = verdict(figures, "channel")
    maps = random.random((IMAGES, 5, 4, 4), dtype=np.float32)
    spatial = random.random((IMAGES, 7, 7), dtype=np.float32)
    plain = variant == "baseline"
    gate = {
        "figures": figures,
        "verdict": said,
        "sentence": sentence,
        "element_mean": values.mean(axis=0),
        "element_std": values.std(axis=0),
        "class_means": values[:3],
    }
    return TrialLook(
        variant=variant,
        seed=seed,
        trial=f"{seed:016x}",
        accuracy=80.0,
        predictions=tuple(
            Prediction(1 if at == 1 else at % 3, 0.5 + 0.1 * seed, 0.25 if at == 1 else 0.5 + 0.1 * seed)
            for at in range(IMAGES)
        ),
        layers=tuple(
            LayerRow(
                layer,
                (9, 4, 4),
                (8, 3, 5, 0, 1),
                maps,
                np.tile([7 + 10 * place, 2], (IMAGES, 1)),
                maps[:, :2, 0, 0],
                maps[:, :2],
            )
            for place, layer in enumerate(layers)
        ),
        gates=()
        if plain
        else (
            GateRow(
                "block2", "channel", "channel", (6, 1, 1), maps=None, weights=values[:IMAGES, :, 0, 0], **gate
            ),
            GateRow("block2", "spatial", "spatial", (1, 7, 7), maps=spatial, weights=None, **gate),
        ),
        branches=() if plain else (BranchRow("block2", ("conv1", "conv3"), maps[:, :2], maps[:, :2, 0, 0]),),
        attention=() if plain else (AttentionRow("block2", "", ((2, 2), (0, 1)), maps[:, :2]),),
        changes=() if plain else (ChangeRow("block2", spatial),),
        cam=CamRow("block3", spatial, spatial[::-1].copy()),
    )


def look(variants: tuple[str, ...], layers: tuple[str, ...], classes: tuple[str, ...], title: str) -> Look:
    random = np.random.default_rng(0)
    return Look(
        study="page",
        title=title,
        baseline="baseline",
        classes=classes,
        images=tuple(
            ImageRow(100 + at, 2 if at == 1 else at % 3, random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
            for at in range(IMAGES)
        ),
        chosen="4 test images, drawn",
        trials=tuple(trial(name, seed, layers, random) for name in variants for seed in (0, 1)),
        layers=layers,
        left_out=(f"another: {title}",),
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "look.html"
    names = ("baseline", "se", "cbam", "msa", "msa at=late", "msa reduction=4")
    path.write_text(render_page(look(names, ("block2", "block3"), CLASSES, "Gates")), encoding="utf-8")
    return path


def cells(page: Any, view: str = "says") -> list[str]:
    return page.texts(f"#view-{view} .cell h3")


def move(page: Any, to: int) -> None:
    page.run(
        "const s = document.getElementById('image'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('input', {bubbles: true}))",
        to,
    )


def test_it_opens_with_the_first_image_and_says_nothing(plain, open_page: Callable[..., Any]) -> None:
    page = open_page(plain)
    assert page.texts("h1") == ["Looking at page"]
    assert page.texts("#image-name") == ["Image 1 of 4: shirt\n(test row 100)"]
    assert cells(page) == [f"{name}, seed 0" for name in ("baseline", "se", "cbam", "msa")]
    assert page.texts("#view-says .right") == ["right: shirt 50 %"] * 4
    assert page.run("return [...document.images].every(one => one.complete && one.naturalWidth > 0)")
    page.assert_silent()


def test_the_slider_the_buttons_and_the_arrows_move_through_the_images(plain, open_page) -> None:
    page = open_page(plain)
    first = page.find("#view-features img").get_attribute("src")
    move(page, 2)
    assert page.texts("#image-name") == ["Image 2 of 4: shoe\n(test row 101)"]
    assert page.texts("#view-says .wrong")[0] == "wrong: coat 50 %, shoe 25 %"
    assert page.texts("#view-says .cell:first-child figcaption") == ["for coat", "for shoe"]
    assert page.find("#view-features img").get_attribute("src") != first
    page.find("#after").click()
    page.find("#after").click()
    assert page.texts("#image-name") == ["Image 4 of 4: shirt\n(test row 103)"]
    assert not page.find("#after").is_enabled()
    page.run("document.activeElement.blur()")
    page.find("body").send_keys("\ue012")  # the left arrow
    assert page.texts("#image-name")[0].startswith("Image 3 of 4")
    page.find("#image").send_keys("\ue012")  # on the slider itself, once and not twice
    assert page.texts("#image-name")[0].startswith("Image 2 of 4")
    page.assert_silent()


def test_variants_and_seeds_are_chosen(plain, open_page) -> None:
    page = open_page(plain)
    assert page.texts("#shown") == ["4 of 6 variants, 1 of 2 seeds"]
    page.find(".controls summary").click()
    page.find('input[name="variant"][value="msa at=late"]').click()
    page.find('input[name="variant"][value="se"]').click()
    page.find('input[name="seed"][value="1"]').click()
    chosen = [
        f"{name}, seed {seed}" for name in ("baseline", "cbam", "msa", "msa at=late") for seed in (0, 1)
    ]
    assert cells(page) == cells(page, "features") == cells(page, "modules") == chosen
    assert page.texts("#gates .of-trial h3") == chosen[2:]
    assert page.texts("#view-says .right")[:2] == ["right: shirt 50 %", "right: shirt 60 %"]
    for box in page.all('input[name="seed"]'):
        if box.is_selected():
            box.click()
    assert page.texts("#view-says") == ["Choose a variant and a seed."]
    page.assert_silent()


def test_the_layer_is_chosen(plain, open_page) -> None:
    page = open_page(plain)
    assert page.texts("#view-top .cell:first-child figcaption") == ["channel 7", "channel 2"]
    page.find('#layer option[value="block3"]').click()
    assert page.texts("#view-top .cell:first-child figcaption") == ["channel 17", "channel 2"]
    assert page.texts("#view-features .cell:first-child figcaption") == ["8", "3", "5", "0", "1"]
    page.assert_silent()


def test_maps_branches_and_self_attention_of_each_module(plain, open_page) -> None:
    page = open_page(plain)
    modules = page.texts("#view-modules .cell")
    assert modules[0].endswith("no attention")
    for name in ("change", "spatial gate", "conv1", "conv3", "looks from 2, 2", "looks from 0, 1"):
        assert name in modules[1]
    dot = page.run("const d = document.querySelector('.dot'); return [d.style.left, d.style.top]")
    assert dot == ["62.5%", "62.5%"]  # the middle of row and column 2 of 4
    gates = page.texts("#gates .gate")
    assert gates[0].startswith("block2, channel gate\nDepends on its image: it varies by")
    page.assert_silent()


def test_no_name_runs_as_script(tmp_path: Path, open_page) -> None:
    path = tmp_path / "look.html"
    bad = look(("baseline", HOSTILE), (HOSTILE, "b"), (HOSTILE, "coat", "shoe"), HOSTILE)
    path.write_text(render_page(bad), encoding="utf-8")
    page = open_page(path)
    for image in (2, 3, 4, 1):
        move(page, image)
    assert cells(page)[1] == f"{HOSTILE}, seed 0"
    assert page.texts("#view-says .right")[0] == f"right: {HOSTILE} 50 %"
    assert page.run("return document.scripts.length") == 3
    page.assert_silent()


@pytest.mark.parametrize("size", [WIDE, PHONE])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_window_and_the_controls_stay_in_sight(
    plain, open_page, size, dark
) -> None:
    page = open_page(plain, size, dark=dark)
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")
    paper = page.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 22, 26)" if dark else "rgb(251, 251, 249)")
    page.run("window.scrollTo(0, document.body.scrollHeight)")
    box = page.run(
        "const b = document.getElementById('controls').getBoundingClientRect(); return [b.top, b.height]"
    )
    assert box[0] == 0 and box[1] < size[1] / 4
    page.assert_silent()
