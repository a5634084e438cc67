"""Writes `results/README.md`: each claim with its verdict, from the reports of the published studies.

    python scripts/front_page.py [PUBLISHED] [--write FILE]     default: results/published, printed

No figure is typed here: all of them are read from report.json (and modules.json) of the studies, and a test
finds them again in the records.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ablate.report import numbers

PUBLISHED = Path("results/published")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """A claim of the source documents. evidence: studies, the fullest first, with the ids of their claims."""

    id: str
    says: str
    evidence: tuple[tuple[str, tuple[str, ...]], ...]


CLAIMS = (
    Claim(
        "C1",
        "Squeeze-and-excitation lifts a three-block CNN on CIFAR-10 by 0.7 points",
        (("cnn-se", ("C1a", "C1b")), ("cnn-se-cpu", ("C1a", "C1b"))),
    ),
    Claim(
        "C2",
        "Multi-scale attention at r = 16 adds 5-10 % to VGG16's parameters",
        (("vgg16-costs", ("C2", "C2-4")),),
    ),
    Claim(
        "C3",
        "Squeeze-and-excitation costs very little",
        (("cnn-se-costs", ("C3", "C3m", "C3l")), ("cnn-se-costs-gpu", ("C3l",))),
    ),
    Claim(
        "C4",
        "A smaller ratio raises capacity and cost, a larger one may lose accuracy",
        (
            ("vgg16-costs", ("C4p", "C4c", "C4l")),
            ("vgg16-costs-gpu", ("C4l",)),
            ("vgg16-msa", ("C4",)),
            ("msa-cpu", ("C4",)),
        ),
    ),
    Claim(
        "C5",
        "Channel and spatial gates complement each other",
        (("vgg16-msa", ("C5", "C5i")), ("msa-cpu", ("C5", "C5i"))),
    ),
    Claim(
        "C6",
        "Attention regularises when data are few",
        (("few-images", ("C6-5", "C6-100", "C6")), ("few-images-cpu", ("C6-5", "C6-100", "C6"))),
    ),
    Claim(
        "C7",
        "What helps is that the weights are dynamic",
        (
            ("dynamic-or-static", ("C7-se", "C7-cbam", "C7-msa")),
            ("dynamic-or-static-cpu", ("C7-se", "C7-cbam", "C7-msa")),
        ),
    ),
    Claim(
        "C8",
        "Three-stage fine-tuning beats plain and discriminative-rate fine-tuning",
        (("fine-tuning", ("C8", "C8s")), ("fine-tuning-cpu", ("C8", "C8s"))),
    ),
)
# (study, with attention, without): how far training is ahead of the test, where the claim speaks of it
GAPS = {
    "C6": (
        ("few-images", "msa fraction=0.05", "baseline fraction=0.05"),
        ("few-images-cpu", "msa fraction=0.05", "baseline fraction=0.05"),
    )
}
# (study, variant, the module whose parameters the added ones are a share of)
SHARES = {"C2": (("vgg16-costs", "msa", "backbone.features"),)}

HEAD = """# Published results

`ablate` on the claims that started it. Each sentence gives the verdict of the tool with the figure that it
rests on, the interval that decided, and n, the seeds of either side; the report behind it has all the rest.
*Supported*: the interval lies wholly inside what is claimed; *refuted*: wholly outside; *undecided*: neither.
Costs are counted, or timed on the machine named.

Written by `python scripts/front_page.py --write results/README.md` from the reports in `published/`.

## The claims
"""

STUDIES = """## What they rest on

Every folder has the study file, the plan, the report and its tables and figures; `published/trials` has the
record of each trial with its curve and predictions, `published/costs` what was counted and measured, machine
by machine. `ablate report results/published/NAME` writes a report anew. *Shows*: the smallest differences
from the baseline that are found 4 times in 5 with these seeds, from variant to variant. Trials share a
machine, several at a time, and a study that was interrupted counts the pause.
"""

AGAIN = """## Once more from nothing

```
make env && . .venv/bin/activate
scripts/published.sh PACKS        # on two cores; PACKS: a folder with the packed images and unpack_cifar10.py
scripts/gpu.sh --from PACKS       # on a machine with a GPU: the full sizes
python scripts/publish.py results/gpu && python scripts/front_page.py --write results/README.md
```
"""

NO_GPU = """No trial here ran on a GPU: what the full sizes would say is open. `scripts/gpu.sh` runs them all;
it has been run to its end on a CPU, at a scale that tries the script and means nothing else.
"""

OTHERS = """
`ablate run` writes beside this page, too; git ignores what it writes, so that a run of your own always starts
from nothing. [docs/design.md](../docs/design.md#the-results-tree) explains the files.
"""


def front_page(root: Path) -> str:
    """The whole page, from the studies that are published under `root`."""
    reports = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(root.glob("*/report.json"))
    }
    modules = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(root.glob("*/modules.json"))
    }
    parts = [HEAD, *(f"{_paragraph(claim, reports, modules)}\n" for claim in CLAIMS), STUDIES]
    parts += [_studies(reports), ""]
    parts += [
        f"- {name}: {_one_line(report['scope'])}" for name, report in reports.items() if report.get("scope")
    ]
    on_gpu = any(e["device"].startswith("cuda") for r in reports.values() for e in r["environments"])
    parts += ["", *([] if on_gpu else [NO_GPU]), AGAIN + OTHERS]
    return "\n".join(parts)


def _paragraph(claim: Claim, reports: Mapping[str, Any], modules: Mapping[str, Any]) -> str:
    told, links = [], []
    for study, ids in claim.evidence:
        if study not in reports:
            continue
        rows = {row["id"]: row for row in reports[study]["claims"]}
        told += [_sentence(rows[i]) for i in ids if i in rows]
        links.append(f"[{study}](published/{study}/report.md)")
    told += [_gap(reports[study], *sides) for study, *sides in GAPS.get(claim.id, ()) if study in reports]
    told += [
        _share(reports[study], modules[study], *names)
        for study, *names in SHARES.get(claim.id, ())
        if study in reports and study in modules
    ]
    found = "; ".join(filter(None, told)) or "not judged yet"
    rests = f" From {' and '.join(links)}." if links else ""
    return f"**{claim.id} · {claim.says}.** {found[:1].upper()}{found[1:]}.{rests}"


def _sentence(row: Row) -> str:
    """*say* is supported: the figures, their intervals, n."""
    late = ", post hoc" if row["post_hoc"] else ""
    figures = ", ".join(_figure(row, figure) for figure in row["evidence"]["figures"])
    return f"*{row['say']}* is **{row['verdict']}**{late}: {figures}"


def _figure(row: Row, figure: Row) -> str:
    sides, estimate, unit = figure["sides"], figure["estimate"], row["claimed"]["unit"]
    if estimate is None:
        return f"{figure['name']} not measured"
    if row["metric"] in ("param_count", "macs"):
        return _counted(row, figure)
    low, high = figure["ci"] or (float("nan"), float("nan"))
    level = f" at {100 * figure['ci_level']:.2f} %" if figure["ci_level"] else ""
    if row["kind"] == "ratio":
        where = f" on {row['evidence']['machine']}" if row["evidence"]["machine"] else ""
        return f"{figure['name']} {estimate:.3f} [{low:.3f}, {high:.3f}]{level}{where}"
    digits = 3 if row["metric"] == "latency_ms" else 2
    n = [figure["n"][name] for name in sides if name in figure["n"]]
    seeds = ", n = " + (" : ".join(map(str, n)) if len(n) == 2 else str(min(n))) if n else ""
    return (
        f"{figure['name']} {numbers.with_interval(estimate, low, high, digits=digits)} {unit}{level}{seeds}"
    )


def _counted(row: Row, figure: Row) -> str:
    noun = {"param_count": "parameters", "macs": "MACs"}[row["metric"]]
    if row["kind"] != "ratio":
        return f"{figure['name']} {numbers.signed_count(figure['estimate'])} {row['claimed']['unit']}"
    of, against = figure["sides"].values()
    return (
        f"{numbers.signed_count(of - against)} {noun}, {numbers.share(of - against, against)} of "
        f"{numbers.count(against)}"
    )


def _gap(report: Row, attended: str, plain: str) -> str:
    """Training minus test accuracy, the means over the seeds, of both."""
    rows = {name: row for row in report["variants"] for name in (row["name"], *row["aliases"])}
    gaps = [_ahead(rows[name]) for name in (attended, plain) if name in rows]
    if len(gaps) < 2 or None in gaps:
        return ""
    with_it, without = (numbers.signed(gap) for gap in gaps)
    return (
        f"training accuracy less test accuracy is {with_it} points with it and {without} without ({attended})"
    )


def _ahead(row: Row) -> float | None:
    train, test = row["train_accuracy_mean"], row["accuracy_mean"]
    return None if train is None or test is None else train - test


def _share(report: Row, modules: Row, variant: str, part: str) -> str:
    """What a variant adds, as a share of one module of the baseline.

    modules: as `ablate bench STUDY --depth 2 --format json` gives them.
    """
    added = next(row["param_delta"] for row in report["variants"] if row["name"] == variant)
    rows = modules[report["baseline"]]["rows"]
    whole = next(row["param_count"] for row in rows if row["path"] == part)
    return f"{variant} adds {numbers.share(added, whole)} to the {numbers.count(whole)} of `{part}`"


def _studies(reports: Mapping[str, Any]) -> str:
    lines = [
        "| Study | Trials | Seeds | Shows, points | Machine | Trials ran | Their minutes | first to last |",
        "| :-- | --: | --: | --: | :-- | :-- | --: | --: |",
    ]
    for name, report in reports.items():
        done = sum(row["n"] for row in report["variants"])
        planned = sum(row["planned"] for row in report["variants"])
        machines = dict.fromkeys(f"{e['device_name']}, torch {e['torch']}" for e in report["environments"])
        cells = [
            f"[{name}](published/{name}/report.md)",
            str(done) if done == planned else f"{done}/{planned}",
            str(len(report["seeds"])),
            _shows(report),
            " and ".join(machines) or numbers.NONE,
            *_times(report),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _times(report: Row) -> tuple[str, str, str]:
    """Days, the minutes of all trials together, and those from the first start to the last end."""
    ran = [
        (datetime.fromisoformat(trial["started"]), trial["wall_s"])
        for trial in report["trials"]
        if trial["started"] and trial["wall_s"] is not None
    ]
    if not ran:
        return "none: costs alone", numbers.NONE, numbers.NONE
    first, last = min(start for start, _ in ran), max(start + timedelta(seconds=took) for start, took in ran)
    days = " to ".join(dict.fromkeys((f"{first:%Y-%m-%d}", f"{max(start for start, _ in ran):%Y-%m-%d}")))
    together = sum(took for _, took in ran) / 60
    return days, numbers.count(together), numbers.count((last - first).total_seconds() / 60)


def _shows(report: Row) -> str:
    found = [v["minimum_detectable_effect"] for v in report["variants"] if v.get("minimum_detectable_effect")]
    ends = dict.fromkeys(numbers.points(value) for value in (min(found), max(found))) if found else {}
    return " to ".join(ends) or numbers.NONE


def _one_line(text: str) -> str:
    return " ".join(text.split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("published", type=Path, nargs="?", default=PUBLISHED)
    parser.add_argument("--write", type=Path, metavar="FILE")
    asked = parser.parse_args()
    page = front_page(asked.published)
    if asked.write is None:
        print(page, end="")
    else:
        asked.write.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
