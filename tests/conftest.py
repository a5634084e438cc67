"""For more than one room: a torchvision that does not fit its torch; signals as at a terminal."""

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ablate.environment import require_torch

# A shell without job control starts what it puts into the background with interrupts ignored, nohup ignores
# hang-ups, and all that the tests start would inherit it: neither could be tried.
_AS_AT_A_TERMINAL = {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}
if threading.current_thread() is threading.main_thread():
    for _name, _usual in _AS_AT_A_TERMINAL.items():
        _signal = getattr(signal, _name, None)  # Windows has no hang-up
        if _signal is not None and signal.getsignal(_signal) is signal.SIG_IGN:
            signal.signal(_signal, _usual)


@pytest.fixture
def no_torchvision(monkeypatch):
    """The real one is forgotten, so that the next import looks at the path again."""
    require_torch()
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    return monkeypatch


@pytest.fixture
def fake_torchvision() -> Callable[[Path, str], None]:
    """Writes a torchvision with this body, and the metadata that an installed one has, into a folder."""

    def write(folder: Path, body: str) -> None:
        package, info = folder / "torchvision", folder / "torchvision-0.99.0.dist-info"
        package.mkdir()
        info.mkdir()
        (package / "__init__.py").write_text(body)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.99.0\n")

    return write
