"""What is a name, a glob, an import path; finding a module without running it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from ablate.spec.names import (
    glob_fault,
    is_import_path,
    is_library_name,
    label_of,
    module_file,
    variant_name_fault,
)


@pytest.mark.parametrize(
    "name", ["baseline", "+channel", "-spatial", "msa reduction=4", "a_b.c", "Größe", "多尺度", "3"]
)
def test_good_names(name: str) -> None:
    assert variant_name_fault(name) == ""


@pytest.mark.parametrize(
    "name",
    ["", " a", "a ", "a/b", "a\\b", "..", "a..b", "+", "a\nb", "a:b", "a*", "<b>", "a\u202eb", "x" * 81],
)
def test_bad_names(name: str) -> None:
    assert variant_name_fault(name)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (4, "4"),
        (0.5, "0.5"),
        (1e-5, "1e-05"),
        (1e20, "1e20"),
        (True, "true"),
        (None, "null"),
        ("block1", "block1"),
        (["block1", "block2"], "block1+block2"),
        (["block*"], None),
        ([], None),
        ({"a": 1}, None),
        ("timm:eca", None),
    ],
)
def test_labels_of_swept_values(value: Any, label: str | None) -> None:
    assert label_of(value) == label


@pytest.mark.parametrize(
    "glob", ["block1", "block*", "features.4", "layer?.[01].conv*", "**.relu", "a-b.c_d", "*", "[!1]"]
)
def test_good_globs(glob: str) -> None:
    assert glob_fault(glob) == ""


@pytest.mark.parametrize("glob", ["", "block[", "a..b", ".a", "a.", "a b", "a/b", "a]", "[]", "a,b"])
def test_bad_globs(glob: str) -> None:
    assert glob_fault(glob)


def test_import_paths_and_libraries() -> None:
    assert is_import_path("package.module:Name") and is_import_path("module:name")
    assert not any(
        map(
            is_import_path,
            ["timm:eca", "torchvision:vgg16", "a.b", "a:", ":b", "a.:b", "a b:c", "1a:b", "a:b.c"],
        )
    )
    assert is_library_name("timm:vit_tiny_patch16_224.augreg") and is_library_name("torchvision:resnet18")
    assert not is_library_name("torchvision:resnet18", ("timm",))


def test_a_module_is_found_without_running_it_or_its_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "pkg_under_test"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('must not run')")
    (package / "inner" / "nets.py").write_text("raise SystemExit('must not run')")
    (tmp_path / "plain_module.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert module_file("pkg_under_test.inner.nets") == package / "inner" / "nets.py"
    assert module_file("pkg_under_test") == package / "__init__.py"
    assert module_file("plain_module") == tmp_path / "plain_module.py"
    assert module_file("pkg_under_test.missing") is None
    assert module_file("plain_module.inner") is None
    assert module_file("sys") is None, "built in: no source to fingerprint"
    assert not any(name.startswith(("pkg_under_test", "plain_module")) for name in sys.modules)
