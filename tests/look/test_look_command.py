"""`ablate look` from the command line, and its server as a process."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from ablate.cli import main
from ablate.store import Store

WISHES = (
    "look seen --variants msa --variants base* --seeds 0 --images 4 --classes 1 --classes 2 --sample 20 "
    "--layers block1 --channels 2 --top 1 --no-figures"
)


@pytest.fixture
def copy(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("ABLATE_CACHE", str(tree.root.parent / "cache"))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tree.root, tmp_path / "results")
    return Store(tmp_path / "results")


def test_a_study_is_looked_at(copy, capsys):
    with pytest.raises(SystemExit) as left:
        main(WISHES.split())
    out, err = capsys.readouterr()
    assert left.value.code == 0
    assert "1 of 2: baseline, seed 0" in err
    assert out.splitlines()[-1].startswith(
        f"{copy.study('seen').look_html.relative_to(copy.root.parent)} (0."
    )
    numbers = json.loads((copy.study("seen").look / "look.json").read_text())
    assert [(one["variant"], one["seed"]) for one in numbers["trials"]] == [("baseline", 0), ("msa", 0)]
    assert {image["label"] for image in numbers["images"]} == {1, 2} and len(numbers["images"]) == 4
    (layer,) = numbers["trials"][1]["layers"]
    assert (layer["layer"], len(layer["channels"]), len(layer["top"][0])) == ("block1", 2, 1)
    assert numbers["trials"][1]["gates"][0]["images"] == 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("look seen --layers blok1", "error: --layers: no module matches 'blok1'\n    nearest: block1"),
        ("look seen --variants x", "error: no variant of seen matches 'x'"),
        ("look seen --classes nine", "error: --classes: no class 'nine'"),
        ("look unseen", "error: no study 'unseen' was run under"),
    ],
)
def test_what_is_not_there_ends_with_two_and_writes_nothing(copy, capsys, arguments, said):
    with pytest.raises(SystemExit) as left:
        main(arguments.split())
    assert left.value.code == 2
    assert said in capsys.readouterr().err
    assert not copy.study("seen").look_html.exists()


def test_a_page_that_is_there_is_served_without_torch_until_ctrl_c(copy):
    copy.study("seen").look_html.write_text("<!doctype html>the page that was there")
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "ablate",
        "look",
        str(copy.study("seen").folder),
        "--serve",
    ]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            line = process.stdout.readline()
            port = int(re.match(r"http://127\.0\.0\.1:(\d+)/ ", line)[1])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"<!doctype html>the page that was there"
            connection.close()
        finally:
            process.send_signal(signal.SIGINT)
        _, loaded = process.communicate(timeout=60)
    assert process.returncode == 0
    assert not re.search(r"\| +torch$", loaded, re.MULTILINE)
    assert re.search(r"\| +ablate.look.serve$", loaded, re.MULTILINE)
