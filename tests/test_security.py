"""What SECURITY.md promises of files, held against the source: no call by which a file could run code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "ablate"
FILES = sorted(PACKAGE.rglob("*.py"))
# Pickle goes between a run and its own workers alone: through pipes that nobody else can open, through Ray,
# and through a folder that is a Slurm user's own.
PIPES = {
    "execute/worker.py",
    "execute/round.py",
    "execute/on_ray/hold.py",
    "execute/on_ray/seat.py",
    "execute/on_slurm/round.py",
    "execute/on_slurm/task.py",
}
# Loaders of other libraries that unpickle, or may, and have no mode in which they do not.
FORBIDDEN = {
    "joblib.load",
    "marshal.load",
    "marshal.loads",
    "pandas.read_pickle",
    "pd.read_pickle",
    "shelve.open",
    "yaml.full_load",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
}
# Calls that are safe with this argument only.
NEEDS = {
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "torch.load": ("weights_only", True),
    "torch.hub.load_state_dict_from_url": ("weights_only", True),
}


def faults(source: str, name: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        where = f"{name}:{node.lineno}: {called}"
        if called in FORBIDDEN or called in {"eval", "exec"}:
            yield f"{where} can run code that lies in a file"
        unpickles = called.rpartition(".")[2] == "Unpickler" or called in {"pickle.load", "pickle.loads"}
        if unpickles and name not in PIPES:
            yield f"{where} outside the pipes of the workers"
        if called in NEEDS:
            argument, value = NEEDS[called]
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if given.get(argument) != str(value):
                yield f"{where} without {argument}={value}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_can_run_code(path):
    assert list(faults(path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).as_posix())) == []


@pytest.mark.parametrize(
    "line",
    [
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path, weights_only=False)",
        "torch.load(path)",
        "yaml.load(text, Loader=Loader)",
        "pickle.loads(text)",
        "pickle.Unpickler(file).load()",
        "eval(text)",
    ],
)
def test_the_check_itself_finds_them(line):
    assert len(list(faults(line, "report/write.py"))) == 1
