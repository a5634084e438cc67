"""`ablate doctor`: the state of the machine as text, what is wrong first."""

from __future__ import annotations

from ablate.environment import Survey

_GIB = 2**30


def render_survey(survey: Survey) -> str:
    """Problems, then versions, devices, threads, memory, and the folders with the space left there."""
    lines = [f"problem: {problem}" for problem in survey.problems] or ["no problem found"]
    lines += ["", f"ablate {survey.ablate}, Python {survey.python}, {survey.platform}"]
    lines += [f"commit here: {survey.commit}"] if survey.commit else []
    lines += ["", "devices"]
    for name, described, memory_bytes in survey.devices:
        memory = f", {memory_bytes / _GIB:.1f} GiB" if memory_bytes else ""
        lines.append(f"  {name:<8} {described}{memory}")
    lines += [
        f"  cores    {survey.cores} to use: on the CPU as many workers, one thread each",
        f"  memory   {survey.memory_free_bytes / _GIB:.1f} of {survey.memory_bytes / _GIB:.1f} GiB free",
        "",
        "folders",
    ]
    width = max(map(len, survey.places), default=0)
    for name, place in survey.places.items():
        state = "" if place.exists else ", not there yet"
        lines.append(f"  {name:<{width}}  {place.path}  ({place.free_bytes / _GIB:.0f} GiB free{state})")
    lines += ["", "libraries"]
    width = max(map(len, survey.packages), default=0)
    lines += [f"  {name:<{width}}  {version or 'absent'}" for name, version in survey.packages.items()]
    return "\n".join(lines)
