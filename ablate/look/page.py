"""look.html: the rows of a look as one page, with a slider over the images."""

from __future__ import annotations

import numpy as np

from ablate.look.draw import class_contrast
from ablate.look.pictures import data_of
from ablate.look.rows import Array, GateRow, Look
from ablate.look.thumbs import plain, unit
from ablate.web import THEME_SWITCH, Html, asset, element, join, page

_SHOWN_AT_FIRST = 4  # variants that are switched on when the page opens


def render_page(look: Look) -> str:
    title = f"Looking at {look.study}"
    body = element(
        "div", _top(look), _controls(look), _views(look), _gates(look), _notes(look), class_="sheet look"
    )
    return page(
        title,
        body,
        data=data_of(look),
        script=asset("ablate.look", "page.js"),
        styles=asset("ablate.look", "page.css"),
    )


def _top(look: Look) -> Html:
    return element(
        "header",
        element(
            "div",
            element("span", "ablate look", class_="eyebrow"),
            THEME_SWITCH,
            class_="line",
        ),
        element("h1", f"Looking at {look.study}"),
        element("p", look.title, class_="muted") if look.title else None,
        element(
            "p",
            f"{look.chosen[:1].upper()}{look.chosen[1:]}; the same for every variant and seed.",
            class_="note",
        ),
        class_="top",
    )


def _controls(look: Look) -> Html:
    """The script fills and wires them; without one the page says so."""
    variants = list(dict.fromkeys(trial.variant for trial in look.trials))
    seeds = sorted({trial.seed for trial in look.trials})
    first = variants[:_SHOWN_AT_FIRST]
    return element(
        "nav",
        element("noscript", element("p", "The pictures need a script; the figures lie in the folder look/.")),
        element(
            "div",
            element("button", "‹", type="button", id="before", aria_label="The image before"),
            element(
                "label",
                element("span", "Image", id="image-name"),
                element(
                    "input",
                    type="range",
                    id="image",
                    min=1,
                    max=len(look.images),
                    value=1,
                    step=1,
                    aria_describedby="image-name",
                ),
                class_="slider",
            ),
            element("button", "›", type="button", id="after", aria_label="The image after"),
            element(
                "label",
                "Layer",
                element("select", *(element("option", path, value=path) for path in look.layers), id="layer"),
            )
            if look.layers
            else None,
            class_="toolbar",
        ),
        element(
            "details",
            element(
                "summary",
                element("span", "Variants and seeds", class_="unseen"),
                element("span", "", id="shown"),
            ),
            element(
                "div",
                _chips("Variants", "variant", variants, first),
                _chips("Seeds", "seed", [str(seed) for seed in seeds], [str(seed) for seed in seeds[:1]]),
                class_="choices",
            ),
        ),
        class_="controls",
        aria_label="What is shown",
        id="controls",
    )


def _chips(legend: str, name: str, values: list[str], on: list[str]) -> Html:
    boxes = (
        element(
            "label",
            element("input", type="checkbox", name=name, value=value, checked=value in on),
            element("span", value),
        )
        for value in values
    )
    return element("fieldset", element("legend", legend), *boxes, class_="chips")


def _views(look: Look) -> Html:
    views = [
        (
            "says",
            "What they say",
            "Class activation (Grad-CAM) for the predicted class over the image: what spoke for it, from "
            "none to the most in this image. Where the prediction is wrong, the true class stands beside it."
            if any(trial.cam for trial in look.trials)
            else "Class activation is not shown.",
        ),
        (
            "features",
            "Feature maps",
            "The channels of the chosen layer with the largest mean |value|. A channel keeps one colour "
            "scale over all images. Channels of two variants or seeds are numbered alike, but need not mean "
            "the same.",
        ),
        (
            "top",
            "Strongest channels",
            "The channels of the chosen layer that respond most to this image, over it.",
        ),
        (
            "modules",
            "Attention modules",
            "What each changes, |output − input| / |input|; its gates with positions; the branches of its "
            "scales; where positions look. Under each picture the ends of its colours, which hold for all "
            "images.",
        ),
    ]
    return join(
        element(
            "section",
            element("h2", heading),
            element("p", text, class_="note"),
            element("div", class_="cells", id=f"view-{key}"),
            id=key,
        )
        for key, heading, text in views
    )


def _gates(look: Look) -> Html | None:
    """Static: it is about all images of the sample."""
    shown = [trial for trial in look.trials if trial.gates]
    if not shown:
        return None
    blocks = []
    for trial in shown:
        gates = [
            element(
                "article",
                element("h4", gate.label),
                element(
                    "p",
                    element("strong", _headline(gate), class_=_tone(gate)),
                    " ",
                    gate.sentence.partition(": ")[2] or gate.sentence,
                ),
                _distribution(gate, look) if gate.kind == "channel" else None,
                class_="gate",
            )
            for gate in trial.gates
        ]
        blocks.append(
            element(
                "div",
                element("h3", trial.name),
                *gates,
                data_variant=trial.variant,
                data_seed=trial.seed,
                class_="of-trial",
            )
        )
    images = shown[0].gates[0].figures.images
    return element(
        "section",
        element("h2", "Do the gates look?"),
        element(
            "p",
            f"Over {images} test images. A gate that varies by less than 1 % of its mean from image to image "
            "could be a number: what it scales would be off by less than a hundredth. One that its first "
            "weights give as well has learned nothing.",
            class_="note",
        ),
        *blocks,
        id="gates",
    )


def _headline(gate: GateRow) -> str:
    return f"{gate.sentence.partition(': ')[0].capitalize()}:"


def _tone(gate: GateRow) -> str:
    return "bad" if gate.learned_nothing else "plain" if gate.depends else "pale"


def _distribution(gate: GateRow, look: Look) -> Html:
    apart, high = class_contrast(gate)
    order = np.argsort(-gate.element_mean.ravel(), kind="stable")
    classes = plain(np.nan_to_num(unit(apart[:, order], -high, high), nan=0.5), "RdBu_r")
    return element(
        "div",
        element(
            "figure",
            _curve(gate.element_mean.ravel()[order], gate.element_std.ravel()[order]),
            element("figcaption", "Channels by their mean gate, 0 to 1; band: ± sd over the images"),
        ),
        element(
            "figure",
            element("img", src=classes, alt="Mean gate of each class and channel", class_="classes"),
            element(
                "figcaption",
                f"A row a class ({look.classes[0]} to {look.classes[-1]}), a column a channel: its mean "
                f"minus that of all, −{high:.3f} blue to {high:.3f} red",
            ),
        ),
        class_="pair",
    )


def _curve(mean: Array, std: Array) -> Html:
    width, height = 320, 90
    high = max(1.0, float((mean + std).max()))
    step = width / max(len(mean) - 1, 1)

    def points(values: Array, backwards: bool = False) -> str:
        at = range(len(values) - 1, -1, -1) if backwards else range(len(values))
        return " ".join(f"{at_ * step:.1f},{height * (1 - float(values[at_]) / high):.1f}" for at_ in at)

    half = f"{height / 2:.1f}"
    return element(
        "svg",
        element("line", x1=0, x2=width, y1=half, y2=half, class_="half"),
        element("path", d=f"M{points(mean + std)} L{points(mean - std, True)}Z", class_="band"),
        element("polyline", points=points(mean), class_="mean"),
        viewBox=f"0 -2 {width} {height + 4}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{len(mean)} weights from {float(mean.min()):.3f} to {float(mean.max()):.3f}",
        class_="curve",
    )


def _notes(look: Look) -> Html | None:
    said = [*look.notes, *look.left_out]
    said += [f"{trial.name}: {note}" for trial in look.trials for note in trial.notes]
    if not said:
        return None
    return element(
        "section", element("h2", "Notes"), element("ul", *(element("li", one) for one in said)), id="notes"
    )
