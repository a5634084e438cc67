"""Each step is said, a long one again with the line where it stands, and Ctrl-C says what it cut short."""

from __future__ import annotations

import importlib
import sys
import time

import pytest

from ablate.runner.patience import Teller, patience
from ablate.runner.plan import plan_study


@pytest.fixture
def told():
    """(what was noted, steps), and the teller that fills them."""
    notes, steps = [], []
    return notes, steps, Teller(notes.append, lambda what, detail: steps.append((what, detail)))


def test_only_what_takes_long_is_announced_again(told):
    notes, steps, tell = told

    def nap():
        time.sleep(0.2)

    with patience("nothing", tell, after_s=30):
        pass
    with patience("a nap", tell, "mine", after_s=0.01):
        nap()
    assert steps == [("nothing", ""), ("a nap", "mine")]
    (said,) = notes
    assert said.startswith("still at it after 0 s: a nap (mine); it stands at ")
    assert said.endswith(" in nap")


def test_an_import_that_hangs_is_called_an_import(told, tmp_path, monkeypatch):
    notes, _, tell = told
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(0.3)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with patience("building the networks", tell, "se", after_s=0.1):
        importlib.import_module("slow_to_import")
    sys.modules.pop("slow_to_import")
    assert len(notes) == 1
    assert notes[0].startswith("still at it after 0 s: building the networks (se); importing ")
    assert notes[0].endswith("slow_to_import.py:2")


def test_an_interrupt_says_what_it_cut_short(told):
    with pytest.raises(KeyboardInterrupt) as caught, patience("building the networks", told[2], "se"):
        raise KeyboardInterrupt
    assert str(caught.value) == "interrupted while building the networks (se); nothing was trained or written"


def test_a_network_that_takes_long_to_build_is_named(make_study, root, tmp_path, monkeypatch, told):
    import ablate.trial

    real = ablate.trial.inspect_variant

    def slow(*args):
        time.sleep(0.1)
        return real(*args)

    monkeypatch.setattr(ablate.trial, "inspect_variant", slow)
    monkeypatch.setenv("ABLATE_CACHE", str(tmp_path / "nothing-is-known"))
    monkeypatch.setattr("ablate.runner.patience.PATIENCE_S", 0.02)
    notes, steps, tell = told
    plan_study(make_study(), output=root, tell=tell)
    assert any("still at it after 0 s: building the networks (baseline)" in note for note in notes)
    whats = list(dict.fromkeys(what for what, _ in steps))
    assert whats[:2] == ["reading the images", "building the networks"]
