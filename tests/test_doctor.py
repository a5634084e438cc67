"""The survey of a machine: it tells everything that it can and raises nothing."""

import sys

from ablate import doctor
from ablate.doctor import survey


def test_a_survey_reports_and_raises_nothing(monkeypatch, no_torchvision, tmp_path, fake_torchvision):
    fake_torchvision(tmp_path, "raise RuntimeError('operator torchvision::nms does not exist')")
    no_torchvision.syspath_prepend(tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("")
    found = survey({"results": tmp_path / "a" / "b", "data cache": blocked / "c"})
    assert [problem for problem in found.problems if "do not match" in problem]
    assert [problem for problem in found.problems if problem.startswith("data cache:")]
    assert {"torch", "torchvision", "pandas", "fvcore"} <= found.packages.keys()
    assert "ruff" not in found.packages, "extras are not required"
    assert found.packages["torch"] is not None
    assert found.devices[0][0] == "cpu" and found.cores >= 1
    assert 0 < found.memory_free_bytes <= found.memory_bytes
    place = found.places["results"]
    assert (place.exists, place.writable) == (False, True) and place.free_bytes > 0


def test_a_survey_without_torch_still_tells_the_rest(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = survey({})
    assert [problem for problem in found.problems if problem.startswith("torch is not installed")]
    assert found.devices[0][0] == "cpu" and found.cpu


def test_dependencies_are_names_without_versions_and_extras(monkeypatch):
    said = [
        "torch>=2.6",
        "scikit-learn>=1.4",
        "pyyaml (>=6.0)",
        'ray>=2; extra == "ray"',
        "tomli; python_version<'4'",
    ]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: said if name == "ablate-bench" else None)
    assert doctor.dependencies() == ("torch", "scikit-learn", "pyyaml", "tomli")


def test_what_is_wrong_stands_first(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    page = doctor.render_survey(survey({"results": blocked / "here"})).splitlines()
    assert page[0] == f"problem: results: {blocked / 'here'} cannot be written"
    assert any(line.startswith("  cpu ") for line in page)
