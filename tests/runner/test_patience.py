"""Long steps are announced, short ones are not, and a study whose module hangs says which variant it is."""

import time

from ablate.runner.patience import patience
from ablate.runner.plan import plan_study


def test_only_what_takes_long_is_announced():
    said = []
    with patience("nothing", said.append, after_s=30):
        pass
    with patience("a nap", said.append, after_s=0.01):
        time.sleep(0.1)
    assert said == ["still at it after 0 s: a nap"]


def test_a_network_that_takes_long_to_build_is_named(make_study, root, monkeypatch):
    import ablate.trial

    real = ablate.trial.inspect_variant

    def slow(*args):
        time.sleep(0.05)
        return real(*args)

    monkeypatch.setattr(ablate.trial, "inspect_variant", slow)
    monkeypatch.setattr("ablate.runner.inspection.patience", lambda what, say: patience(what, say, 0.01))
    said = []
    plan_study(make_study(), output=root, say=said.append)
    assert "still at it after 0 s: building the network of 'baseline'" in said
