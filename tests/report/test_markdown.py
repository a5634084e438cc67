from __future__ import annotations

import re
from typing import Any

import pytest

from ablate.report import MEASURED_PREFIX, build_report, render_markdown
from ablate.report.markdown import text


def page(tree: Any) -> str:
    tree.plan()
    return render_markdown(build_report(tree.store, "msa"))


def tables(markdown: str) -> list[list[list[str]]]:
    found = []
    for block in markdown.split("\n\n"):
        if block.startswith("| "):
            found.append([re.split(r" (?<!\\)\| ", line[2:-2]) for line in block.splitlines()])
    return found


def test_the_first_ten_lines_answer_which_parts_earned_their_cost(msa: Any) -> None:
    first_ten = "\n".join(page(msa).splitlines()[:10])
    assert "multi-scale earned its cost" in first_ten
    assert "channel " in first_ten and "spatial " in first_ten


def test_every_table_is_rectangular_and_every_variant_has_its_row(msa: Any) -> None:
    found = tables(page(msa))
    assert all(len({len(row) for row in table}) == 1 for table in found)
    results = {row[0]: row for row in found[0]}
    assert len(results) == 17  # header, rule, 15 variants
    assert results["msa"][1:5] == ["✓", "✓", "✓", "5"]
    assert results["baseline"][1:5] == ["✗", "✗", "✗", "5"]
    assert results["multi-scale"][1:5] == ["✓", "✗", "✗", "5"]


def test_figures_printed_are_those_of_the_rows(msa: Any) -> None:
    row = next(row for row in build_report(msa.store, "msa").variants if row.name == "msa at=early")
    assert row.accuracy and row.against
    printed = next(line for line in tables(page(msa))[0] if line[0] == "msa at=early")
    assert printed[5] == f"{row.accuracy.mean:.2f} ± {row.accuracy.std:.2f}"
    low, high = row.against.judgement.low, row.against.judgement.high
    expected = f"{row.against.judgement.evidence.estimate.value:+.2f} [{low:+.2f}, {high:+.2f}]"
    assert printed[7] == expected.replace("-", "−")


def test_an_incomplete_set_of_seeds_is_marked(tree: Any) -> None:
    tree.add_variant("baseline", {seed: 84.0 + seed / 10 for seed in range(5)})
    tree.add_variant("se", {0: 85.0, 1: 85.5, 2: None})
    markdown = page(tree)
    assert next(row for row in tables(markdown)[0] if row[0] == "se")[1] == "2/5"
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


def test_what_is_measured_stands_on_lines_of_its_own(tree: Any, build_msa: Any) -> None:
    """The same scores from slower trials on another day: all other lines are equal."""

    def rest(markdown: str) -> list[str]:
        return [line for line in markdown.splitlines() if not line.startswith(MEASURED_PREFIX)]

    fast = page(build_msa(tree))
    tree.variants.clear()
    slow = page(build_msa(tree, wall_s=99.0))
    assert fast != slow and rest(fast) == rest(slow)


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
