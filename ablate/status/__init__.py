"""What stands in a results tree now: the states of a study's trials, and what a trial has to say."""

from ablate.status.find import find_study, find_trial
from ablate.status.logs import follow_log, render_log
from ablate.status.page import render_status, status_json, watch_status
from ablate.status.read import State, StudyStatus, TrialStatus, read_status, read_study

__all__ = [
    "State",
    "StudyStatus",
    "TrialStatus",
    "find_study",
    "find_trial",
    "follow_log",
    "read_status",
    "read_study",
    "render_log",
    "render_status",
    "status_json",
    "watch_status",
]
