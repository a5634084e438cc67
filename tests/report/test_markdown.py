from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ablate.report import build_report, render, render_markdown, without_measured
from ablate.report.headline import headline
from ablate.report.markdown import text, with_code
from ablate.report.write import FORMATS


def page(tree: Any) -> str:
    tree.plan()
    return render_markdown(build_report(tree.store, "msa"))


def tables(markdown: str) -> list[list[list[str]]]:
    found = []
    for block in markdown.split("\n\n"):
        if block.startswith("| "):
            found.append([re.split(r" (?<!\\)\| ", line[2:-2]) for line in block.splitlines()])
    return found


def results_of(markdown: str) -> list[list[str]]:
    return tables(markdown.partition("\n## Results\n")[2].strip())[0]


def test_the_first_ten_lines_say_what_each_part_bought_and_what_it_cost(msa: Any) -> None:
    first_ten = page(msa).splitlines()[:10]
    assert first_ten[2].startswith(
        "Which parts earned their cost? multi-scale (+1.79 % parameters, +46.67 % MACs) is shown to add "
        "accuracy; "
    )
    assert first_ten[4] == "| Part | Verdict | Bought, points | Parameters | MACs |"
    rows = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ") for line in first_ten[6:9]}
    assert rows.keys() == {"multi-scale", "channel", "spatial"}
    row = next(row for row in build_report(msa.store, "msa").effects if row.name == "multi-scale")
    value, (low, high) = row.judgement.evidence.estimate.value, row.judgement.deciding
    assert rows["multi-scale"] == [
        "multi-scale",
        "better",
        f"{value:+.2f} [{low:+.2f}, {high:+.2f}]",
        "+5,000 (+1.79 %)",
        "+0.70 M (+46.67 %)",
    ]


def test_both_pages_say_where_no_trial_has_finished(tree: Any) -> None:
    tree.seeds = (0,)
    tree.add_variant("baseline", {0: 84.0})
    tree.add_variant("se", {})
    assert [row[5] for row in results_of(page(tree))[2:]] == ["baseline", "no finished run"]
    html = render(build_report(tree.store, "msa"), "html")
    assert re.findall(r'data-verdict="([^"]*)"', html) == ["baseline", "no finished run"]
    assert "undecidable" not in html.partition('id="variants"')[2]


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("a_b (`also: [c_d]` gives) it", "a\\_b (`also: [c_d]` gives) it"),
        ("`a` *and* `b`", "`a` \\*and\\* `b`"),
        ("an odd ` one", "an odd \\` one"),
        ("a run `` of *two*", "a run \\`\\` of \\*two\\*"),
    ],
)
def test_what_stands_between_backticks_is_code(said: str, written: str) -> None:
    assert with_code(said) == written


def test_an_equivalence_prints_the_interval_that_decided_and_says_which(msa: Any) -> None:
    """The interval of the two one-sided tests lies inside the margin; the two-sided one may reach beyond."""
    row = next(row for row in build_report(msa.store, "msa").effects if row.name == "channel")
    assert row.judgement.verdict == "equivalent"
    effects = page(msa).partition("Family: effects of the factorial from msa (7)")[2]
    printed = next(line for line in tables(effects)[0] if line[0] == "channel")
    low, high = row.judgement.inner
    assert -0.5 < low < high < 0.5 and row.judgement.high - row.judgement.low > high - low
    expected = f"{row.judgement.evidence.estimate.value:+.2f} [{low:+.2f}, {high:+.2f}]".replace("-", "−")
    assert printed[2] == expected and printed[3].endswith(" % (TOST)")


def test_a_scope_comes_first_in_every_rendering_and_leaves_the_rest_as_it_was(msa: Any) -> None:
    said = "A tenth of the images & 10 of 50 epochs."
    without = {format: render(build_report(msa.store, "msa"), format) for format in FORMATS}
    msa.store.write_plan(msa.plan().model_copy(update={"scope": said}))
    report = build_report(msa.store, "msa")
    markdown = render(report, "markdown")
    assert markdown.splitlines()[2] == said.replace("&", "&amp;")
    assert markdown.replace(f"{said.replace('&', '&amp;')}\n\n", "") == without["markdown"]
    html = render(report, "html")
    assert html.partition("</h1>")[2].startswith(f'<p class="note">{said.replace("&", "&amp;")}</p>')
    tex = render(report, "latex")
    assert tex.partition("\\maketitle\n\n")[2].startswith(said.replace("&", "\\&") + "\n\n")
    document = json.loads(render(report, "json"))
    assert document.pop("scope") == said and document == json.loads(without["json"])
    assert render(report, "csv") == without["csv"]


def test_the_two_counts_of_seeds_are_told_apart_and_explained(tree: Any, build_msa: Any) -> None:
    build_msa(tree, std=1.0)
    markdown = page(tree)
    header = next(table for table in tables(markdown) if "Would show" in table[0])[0]
    assert {"Seeds to show 0.5", "Seeds to decide"} <= set(header)
    assert "Seeds to show 0.5: a variant, to find" in markdown
    assert "Seeds to decide: the same, and" in markdown


def test_a_missing_seed_of_a_cell_shows_beside_the_effects(msa: Any) -> None:
    variant = next(variant for variant in msa.plan().variants if variant.name == "channel")
    msa.store.trial(variant.trials[0]).record.unlink()
    effects = page(msa).partition("Family: effects of the factorial from msa (7)")[2]
    assert {row[1] for row in tables(effects)[0][2:]} == {"4 to 5"}


def test_a_sweep_stands_against_its_start_and_against_the_baseline_and_says_so(msa: Any) -> None:
    section = page(msa).partition("## Sweep: reduction\n")[2].partition("\n## ")[0]
    assert "Family: sweep reduction against msa (3)" in section
    assert "Family: sweep reduction (3 against baseline)" in section
    assert "Two questions, and a family for each, corrected on its own" in section
    comparisons = page(msa).partition("## Comparisons with the baseline\n")[2].partition("\n## ")[0]
    assert "sweep" not in comparisons


def test_no_infinity_and_no_absurd_number_of_seeds_is_printed(tree: Any) -> None:
    tree.add_variant("baseline", {seed: 50.0 + 9 * (seed % 2) for seed in range(5)})
    tree.add_variant("se", {seed: 55.0 + 9 * (seed % 2) for seed in range(5)})
    tree.add_variant("once", {0: 84.0})
    markdown = page(tree)
    assert "∞" not in markdown and " inf" not in markdown and "nan" not in markdown
    assert "| > 100 |" in markdown
    told = " ".join(headline(build_report(tree.store, "msa")))
    assert "it would take more than 100 seeds a variant, at a seed sd of 4.9 points" in told


def test_every_table_is_rectangular_and_every_variant_has_its_row(msa: Any) -> None:
    found = tables(page(msa))
    assert all(len({len(row) for row in table}) == 1 for table in found)
    results = {row[0]: row for row in results_of(page(msa))}
    assert len(results) == 17  # header, rule, 15 variants
    assert results["msa"][1:5] == ["✓", "✓", "✓", "5"]
    assert results["baseline"][1:5] == ["✗", "✗", "✗", "5"]
    assert results["multi-scale"][1:5] == ["✓", "✗", "✗", "5"]


def test_figures_printed_are_those_of_the_rows(msa: Any) -> None:
    row = next(row for row in build_report(msa.store, "msa").variants if row.name == "msa at=early")
    assert row.accuracy and row.against
    printed = next(line for line in results_of(page(msa)) if line[0] == "msa at=early")
    assert printed[5] == f"{row.accuracy.mean:.2f} ± {row.accuracy.std:.2f}"
    low, high = row.against.judgement.low, row.against.judgement.high
    expected = f"{row.against.judgement.evidence.estimate.value:+.2f} [{low:+.2f}, {high:+.2f}]"
    assert printed[7] == expected.replace("-", "−")


def test_an_incomplete_set_of_seeds_is_marked(tree: Any) -> None:
    tree.add_variant("baseline", {seed: 84.0 + seed / 10 for seed in range(5)})
    tree.add_variant("se", {0: 85.0, 1: 85.5, 2: None})
    markdown = page(tree)
    assert next(row for row in results_of(markdown) if row[0] == "se")[1] == "2/5"
    assert "| se | 2/5 | 3, 4 | 2 |" in markdown
    trial = build_report(tree.store, "msa").incomplete[0].trials[2].id
    told = f"| se | 2 | non-finite: the loss became NaN \\| in epoch 2 | – | trials/{trial}/log.txt |"
    assert told in markdown


def test_not_significant_never_prints_as_no_effect(tree: Any, build_msa: Any) -> None:
    build_msa(tree, std=1.0)
    markdown = page(tree)
    assert "undecided" in markdown
    allowed = "Undecided does not mean that there is no effect."
    assert allowed in markdown and "no effect" not in markdown.replace(allowed, "").lower()


def test_what_is_measured_stands_apart(tree: Any, build_msa: Any) -> None:
    """The same scores from slower trials on another day: all other lines are equal."""

    fast = page(build_msa(tree))
    tree.variants.clear()
    slow = page(build_msa(tree, wall_s=99.0))
    assert fast != slow and without_measured(fast) == without_measured(slow)


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("<script>alert(1)</script>", r"\<script>alert(1)\</script>"),
        ("[x](javascript:alert(1))", r"[x]\(javascript:alert(1))"),
        ("*bold* _it_ `code` ~gone~", r"\*bold\* \_it\_ \`code\` \~gone\~"),
        ("two\nlines", "two lines"),
        ("&lt;", "&amp;lt;"),
        ("p < 0.001, [−∞, ∞]", "p < 0.001, [−∞, ∞]"),
    ],
)
def test_no_name_becomes_markup(plain: str, escaped: str) -> None:
    assert text(plain) == escaped


def test_a_name_with_a_bar_breaks_no_table(tree: Any) -> None:
    tree.title = "# <b>A | B</b>"
    tree.add_variant("baseline", {seed: 84.0 + seed / 10 for seed in range(5)})
    tree.add_variant("a|b", {seed: 85.0 + seed / 10 for seed in range(5)})
    markdown = page(tree)
    assert markdown.startswith("# # \\<b>A \\| B\\</b>\n")
    assert all(len({len(row) for row in table}) == 1 for table in tables(markdown))


def test_nothing_finished_still_makes_a_page(tree: Any) -> None:
    tree.add_variant("baseline", {})
    tree.add_variant("se", {})
    markdown = page(tree)
    assert "nothing to report yet" in markdown and "![" not in markdown


@pytest.mark.parametrize(
    ("analysis", "of_variants", "of_parts"),
    [
        ({"test": "dunnett"}, " by Dunnett's test.", " after Holm's correction."),
        ({"test": "paired"}, " by pairs of seeds after Holm's", " by pairs of seeds after Holm's"),
        ({"correction": "none"}, ", uncorrected.", ", uncorrected."),
    ],
)
def test_the_test_that_the_study_chose_is_the_one_that_the_page_names(
    msa: Any, analysis: dict[str, Any], of_variants: str, of_parts: str
) -> None:
    """Dunnett's test knows no effects of a design: Welch's stands in for them, and the page says so."""
    msa.analysis = {**msa.analysis, **analysis}
    assert f"each with its interval{of_parts}" in page(msa)
    msa.designs.clear()
    assert f"each with its interval{of_variants}" in page(msa)
