"""`ablate status` and `ablate logs` as they are typed."""

from __future__ import annotations

import json

import pytest

from ablate.cli import main


def run(capsys, *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(args)
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_status(store, tree, capsys):
    tree.write("a", 0)
    root = ("-o", str(store.root))
    assert run(capsys, "status", "msa", *root)[1].startswith("msa: 1 done, 0 running, 0 failed, 3 pending")
    code, out, _ = run(capsys, "status", "msa", "--format", "json", *root)
    assert (code, json.loads(out)["done"]) == (0, 1)
    assert run(capsys, "status", "msa", "--format", "yaml", *root)[0] == 2
    assert run(capsys, "status", "msa", "--format", "json", "--watch", *root)[0] == 2


def test_watching_a_study_that_is_over(store, tree, capsys):
    for variant, seed in (("a", 0), ("a", 1), ("b", 0), ("b", 1)):
        tree.write(variant, seed)
    code, out, _ = run(capsys, "status", "msa", "--watch", "-o", str(store.root))
    assert (code, out) == (0, "msa: 4 done, 0 running, 0 failed, 0 pending of 4 trials\n")


@pytest.mark.parametrize("follow", [(), ("--follow",)])
def test_logs(store, tree, capsys, follow):
    tree.write("a", 0, failed=True)
    code, out, _ = run(capsys, "logs", "msa/a/0", "-o", str(store.root), *follow)
    said = f"\nfailed: crashed: died of SIGSEGV\nmore\n\nTraceback: here\nway out: {tree.crash}\n"
    assert (code, out) == (0, said)


def test_logs_of_what_is_not_there(store, capsys):
    code, _, err = run(capsys, "logs", "se/0", "-o", str(store.root))
    assert code == 2
    assert "there is no trial 'se/0'" in err
