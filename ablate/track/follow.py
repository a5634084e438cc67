"""Trials into trackers while they train. A tracker that fails is one note, and costs neither a trial nor the
exit code of a run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ablate.store import Store
from ablate.track.base import Tracker
from ablate.track.channel import Channel

INTERVAL_S = 5.0
SLOWEST_S = 60.0  # after faults, between two attempts
AT_AN_INTERRUPT_S = 10.0  # somebody waits for the end
PATIENCE_S = 60.0  # without any trial written, before a tracker is given up at the end of a run
_SHORT_S = 2.0  # nobody wonders at so short a wait


class Follower:
    """A thread that keeps one tracker up to date until it is told to finish."""

    def __init__(
        self, channel: Channel, note: Callable[[str], None], *, interval_s: float = INTERVAL_S
    ) -> None:
        self.channel = channel
        self._note, self._interval_s = note, interval_s
        self._held, self._ending, self._left = (threading.Event() for _ in range(3))
        self._wake = threading.Event()
        self._turn = threading.Lock()
        self._told = False
        channel.hurry = lambda: self._left.is_set() or (self._held.is_set() and not self._ending.is_set())
        name = f"ablate-track-{channel.tracker.name}"
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def pause(self) -> None:
        """Until `finish`: what is measured next is measured beside nothing else."""
        self._held.set()
        if self._turn.acquire(timeout=PATIENCE_S):
            self._turn.release()

    def finish(self, patience_s: float = PATIENCE_S) -> None:
        """Write the rest. A tracker that has nothing to show for so many seconds is left behind."""
        if not self._thread.is_alive():
            return
        self._ending.set()
        self._wake.set()
        self._thread.join(_SHORT_S)
        if self._thread.is_alive():
            self._note(f"writing the rest to {self.channel.tracker.name}")
        before = -1
        while self._thread.is_alive() and before != self.channel.progress:
            before = self.channel.progress
            self._thread.join(patience_s)
        self._left.set()
        if self._thread.is_alive():
            self._tell(f"did not answer for {patience_s:.0f} s")

    def _follow(self) -> None:
        pause_s = self._interval_s
        try:
            while not self._ending.is_set():
                with self._turn:
                    fault = "" if self._held.is_set() else self._round()
                pause_s = min(2 * pause_s, SLOWEST_S) if fault else self._interval_s
                self._wake.wait(pause_s)
            found = self.channel.go_over(thoroughly=True)
            if found.fault:
                self._tell(found.fault)
        finally:
            self.channel.close()

    def _round(self) -> str:
        found = self.channel.go_over()
        if found.fault:
            self._tell(found.fault)
        return found.fault

    def _tell(self, fault: str) -> None:
        if self._told:
            return
        self._told = True
        name = self.channel.tracker.name
        self._note(
            f"note: tracking with {name} failed: {fault}; the trials go on, and what is missing there is "
            f"written when it answers again, or by `ablate track {self.channel.study} --to {name}`"
        )


class Tracking:
    """All trackers of a run. Nothing happens where none was asked for."""

    def __init__(
        self,
        store: Store,
        study: str,
        trackers: Sequence[Tracker],
        note: Callable[[str], None],
        *,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._followers = [
            Follower(Channel(store, study, tracker), note, interval_s=interval_s) for tracker in trackers
        ]
        self._note = note

    def start(self) -> None:
        """Says once, while there is something to watch, by which command each tracker is looked at."""
        for follower in self._followers:
            self._note(f"{follower.channel.tracker.name}: {follower.channel.tracker.shown_by}")
        for follower in self._followers:
            follower.start()

    def pause(self) -> None:
        for follower in self._followers:
            follower.pause()

    def finish(self, patience_s: float = PATIENCE_S) -> None:
        """To be called any number of times."""
        for follower in self._followers:
            follower.finish(patience_s)
