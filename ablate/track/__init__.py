"""Trials in TensorBoard and MLflow: curves, parameters and final figures, each exactly once.

The results tree stays the record; a tracker is a view of it that can be written anew at any time.
"""

from ablate.track.afterwards import track_afterwards, track_study
from ablate.track.base import TRACKERS, Tracker, Wanted
from ablate.track.follow import AT_AN_INTERRUPT_S, Tracking

__all__ = [
    "AT_AN_INTERRUPT_S",
    "TRACKERS",
    "Tracker",
    "Tracking",
    "Wanted",
    "track_afterwards",
    "track_study",
]
