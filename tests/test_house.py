"""The house stands as docs/design.md draws it: who may import whom, and what must not load torch."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "ablate"

# Every module or package of the house and its layer; a new one must be entered here on purpose.
LAYERS = {
    "errors": 0,
    "seeds": 0,
    "spec": 1,
    "record": 1,
    "variants": 2,
    "store": 2,
    "stats": 2,
    "environment": 2,
    "models": 2,
    "data": 2,
    "train": 2,
    "measure": 2,
    "execute": 2,
    "failures": 2,
    "web": 2,
    "trial": 3,
    "controls": 3,
    "report": 3,
    "compare": 3,
    "look": 3,
    "status": 3,
    "track": 3,
    "clean": 3,
    "doctor": 3,
    "runner": 4,
    "bench": 4,
    "selftest": 4,
    "tune": 4,
    "verify": 4,
    "display": 3,
    "cli": 5,
    "__main__": 6,
}
# Within layers 2 and 3 nobody knows a neighbour, except as said here.
NEIGHBOURS = {
    ("compare", "report"): "to judge a pair by the rows and sentences of a report",
    ("look", "trial"): "to build a trial's network again as the trial itself did",
    ("status", "display"): "to say durations in the same words",
    ("data", "environment"): "to name a torch and torchvision that do not match",
    ("models", "environment"): "to name a torch and torchvision that do not match",
    ("tune", "runner"): "a trial of a search is made of trials of the results tree, trained as in a run",
    ("tune", "bench"): "latency as an objective is measured as `ablate bench` does",
    ("runner", "bench"): "a run measures costs as `ablate bench` does",
}
TORCH_FREE = (
    "errors",
    "seeds",
    "spec",
    "record",
    "variants",
    "store",
    "stats",
    "execute",
    "failures",
    "report",
    "compare",
    "status",
    "track",
    "clean",
    "selftest",
    "web",
)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names imported anywhere in a file, lazily or not; relative imports resolved."""
    package = ["ablate", *path.relative_to(PACKAGE).parent.parts]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            found.update({base, *(f"{base}.{alias.name}" for alias in node.names)})
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_lower_layers_only(path: Path) -> None:
    here = room(path)
    if here == "__init__":  # the lazy public names
        assert imports(path) <= {"importlib", "importlib.import_module", "typing", "typing.Any"}
        return
    assert here in LAYERS, f"{here} is not drawn in the house: give it a layer"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "ablate" or len(parts) < 2 or parts[1] == "__version__":
            continue
        other = parts[1]
        assert other in LAYERS, f"{path.name} imports ablate.{other}, which is not drawn in the house"
        allowed = other == here or LAYERS[other] < LAYERS[here] or (here, other) in NEIGHBOURS
        assert allowed, f"{here} (layer {LAYERS[here]}) imports {other} (layer {LAYERS[other]})"


@pytest.mark.parametrize(
    "path", [p for p in FILES if room(p) in TORCH_FREE], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_the_analysis_arm_never_imports_torch(path: Path) -> None:
    heavy = {
        name for name in imports(path) if name.split(".")[0] in {"torch", "torchvision", "fvcore", "timm"}
    }
    assert not heavy


def loaded_by(code: str) -> set[str]:
    script = f"import sys, json\n{code}\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(json.loads(done.stdout.strip().splitlines()[-1]))


CLI = """
from ablate.cli import app
from typer.testing import CliRunner
result = CliRunner().invoke(app, {args!r})
assert result.exit_code == 0, result.output"""


@pytest.mark.parametrize(
    "code",
    [
        "import ablate",
        CLI.format(args=["--help"]),
        CLI.format(args=["validate", "studies/msa.yaml"]),
        CLI.format(args=["ls", "attention"]),
        "import ablate.report, ablate.store, ablate.status, ablate.stats, ablate.variants",
    ],
    ids=["import", "help", "validate", "ls", "analysis"],
)
def test_what_needs_no_network_loads_no_torch(code: str) -> None:
    assert not {name.split(".")[0] for name in loaded_by(code)} & {"torch", "torchvision", "fvcore"}


def test_every_public_name_resolves() -> None:
    import ablate

    for name in ablate.__all__:
        assert getattr(ablate, name) is not None


def test_tests_mirror_the_package() -> None:
    tests = PACKAGE.parent / "tests"
    for folder in {p.parent.relative_to(PACKAGE) for p in FILES}:
        if folder.parts and folder.parts[0] in LAYERS and len(folder.parts) == 1:
            assert (tests / folder).is_dir(), f"ablate/{folder} has no tests/{folder}"
