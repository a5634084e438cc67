"""Trials of a study into trackers apart from its run: when it has ended, or from another terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ablate.errors import StoreError
from ablate.store import Store
from ablate.track.base import Tracker, Wanted
from ablate.track.channel import Channel, Round
from ablate.track.follow import INTERVAL_S


def track_study(
    store: Store,
    study: str,
    trackers: Sequence[Tracker],
    *,
    follow: bool = False,
    say: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Write the trials of a study as they stand now, and with `follow` until none is trained any more.

    Whether everything is there. Raises StoreError where somebody else writes to the same tracker.
    """
    channels = [Channel(store, study, tracker) for tracker in trackers]
    quiet = 0  # rounds: between two trials of a worker nobody trains for a moment
    try:
        rounds = [_gone_over(channel, thoroughly=True) for channel in channels]
        while follow and quiet < 2:
            sleep(INTERVAL_S)
            rounds = [_gone_over(channel) for channel in channels]
            quiet = 0 if any(found.running for found in rounds) else quiet + 1
    finally:
        for channel in channels:
            channel.close()
    for channel, found in zip(channels, rounds, strict=True):
        say(_told(channel, found))
    return not any(found.fault for found in rounds)


def track_afterwards(store: Store, study: str, wanted: Wanted, *, say: Callable[[str], None]) -> None:
    """The same at the end of a command that is about something else: what fails is said, and no more."""
    try:
        track_study(store, study, wanted.trackers(store, study), say=say)
    except StoreError as error:
        say(f"note: {error}")


def _gone_over(channel: Channel, *, thoroughly: bool = False) -> Round:
    found = channel.go_over(thoroughly=thoroughly)
    if found.holder is not None:
        raise StoreError(
            f"{channel.tracker.name} of {channel.study} is written by a run that goes on ({found.holder})\n"
            "    it writes what other runs of the study train, too: wait for its end"
        )
    return found


def _told(channel: Channel, found: Round) -> str:
    there = f"{channel.written} written, {len(channel.settled)} there already"
    fault = f"\n    failed: {found.fault}" if found.fault else ""
    return f"{channel.tracker.name}: {there}; {channel.tracker.shown_by}{fault}"
