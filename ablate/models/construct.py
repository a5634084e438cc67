"""From a name and arguments to an object: an entry of a literal dict, or the user's `package.module:name`."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ablate.errors import AblateError, did_you_mean

_NOT_THE_USERS = ("ablate", "torch", "torchvision", "timm")


class ModelError(AblateError):
    """A backbone or a mechanism that does not exist, cannot be built as asked, or does not fit the images."""


def _way_out(module_name: str, error: BaseException) -> str:
    """One that is not found has to be put somewhere else; one that breaks, mended where it does."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and f"{module_name}.".startswith(f"{missing}."):
        return "the module must be importable from the folder where the command runs, or be installed"
    if isinstance(error, SyntaxError):
        return f"mend {error.filename}:{error.lineno}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"mend {last.filename}:{last.lineno} in {last.name}"


def resolve(kind: str, name: str, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """What `name` stands for: an entry of `known`, or the object at an import path ``package.module:name``.

    kind: ``"attention"`` or ``"backbone"``, for the message. Raises ModelError naming what was tried.
    """
    if name in known:
        return known[name]
    module_name, colon, attribute = name.partition(":")
    if not colon:
        hint = did_you_mean(name, known)
        raise ModelError(
            f"no {kind} is called {name!r}"
            f"\n    allowed: {', '.join(known)}, or an import path such as 'package.module:Name'"
            + (f"\n    {hint}" if hint else "")
        )
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:  # the user's file runs here, and may fail in any way
        raise ModelError(
            f"{kind} {name!r}: importing {module_name!r} failed with {type(error).__name__}: {error}"
            f"\n    {_way_out(module_name, error)}"
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        public = {key: value for key, value in vars(module).items() if not key.startswith("_")}
        named = [key for key, value in public.items() if callable(value)]
        own = [key for key in named if getattr(public[key], "__module__", None) == module_name]
        hint = did_you_mean(attribute, named)
        raise ModelError(
            f"{kind} {name!r}: {module_name!r} was imported, but has no class or function {attribute!r}"
            f"\n    it has: {', '.join(own) or 'none of its own'}" + (f"\n    {hint}" if hint else "")
        )
    return found


def construct(
    kind: str,
    name: str,
    factory: Callable[..., Any],
    given: Mapping[str, Any],
    args: Mapping[str, Any],
    accepts: Sequence[str] | None = None,
) -> Any:
    """``factory(**given, **args)``; arguments that do not fit are a ModelError naming those that would.

    given: what the house passes (channels, classes, ...). args: what the study says. accepts: names of all
    arguments, where the factory's own signature does not tell.
    """
    allowed = accepted_arguments(factory) if accepts is None else tuple(accepts)
    choice = tuple(argument for argument in allowed if argument not in given)
    for key in args:
        if key in given or (choice and key not in choice and "**" not in allowed):
            hint = did_you_mean(key, choice)
            raise ModelError(
                f"{kind} {name!r} has no argument {key!r}\n    allowed: {', '.join(choice) or 'none'}"
                + (f"\n    {hint}" if hint else "")
            )
    try:
        return _call(factory, {**given, **args})
    except AblateError:
        raise
    except (
        Exception,
        SystemExit,
    ) as error:  # others' code, may fail in any way
        shown = ", ".join(f"{key}={value!r}" for key, value in args.items())
        raise ModelError(f"{kind} {name}({shown}): {reason(name, error)}") from error


def _call(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """``factory(**arguments)``; on the meta device also one that needs numbers while it builds."""
    try:
        return factory(**arguments)
    except RuntimeError:
        if not torch.empty(0).is_meta:
            raise
    with torch.device("cpu"):  # such as torch.linspace(...).tolist() for rates that grow with the depth
        built = factory(**arguments)
    return built.to("meta") if isinstance(built, nn.Module) else built


def accepted_arguments(factory: Callable[..., Any]) -> tuple[str, ...]:
    """Names that `factory` takes as keywords, with ``"**"`` when it takes any."""
    parameters = inspect.signature(factory).parameters.values()
    keywords = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = tuple(p.name for p in parameters if p.kind in keywords)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    return (*names, "**") if takes_any else names


def reason(name: str, error: BaseException) -> str:
    """What went wrong in words: the error's message, with its kind where that says more, and the line of the
    user's own package that it came from, when `name` is an import path and a line of it was running.
    """
    plain = isinstance(error, RuntimeError | TypeError | ValueError) and str(error)
    text = str(error) if plain else f"{type(error).__name__}: {error}".removesuffix(": ")
    line = _users_line(name, error)
    if isinstance(error, AssertionError) and not str(error):  # says nothing but where it stands
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name != "_assert"]
        frame = frames[-1]
        library = Path(frame.filename).parts[-3:]
        text = f"{frame.line} does not hold ({'/'.join(library)}:{frame.lineno})"
    return f"{text}\n    raised in {line}" if line else text


def _users_line(name: str, error: BaseException) -> str:
    """``"nets/own.py:12"``: the innermost line that belongs to the package in front of the colon."""
    top = name.partition(":")[0].partition(".")[0]
    package = sys.modules.get(top) if ":" in name else None
    if package is None or top in _NOT_THE_USERS:
        return ""
    folders = [Path(folder).resolve() for folder in getattr(package, "__path__", ())]
    own_file = Path(package.__file__).resolve() if getattr(package, "__file__", None) else None
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename).resolve()
        if file == own_file or any(file.is_relative_to(folder) for folder in folders):
            near = file.is_relative_to(Path.cwd())
            return f"{os.path.relpath(file) if near else file}:{frame.lineno}"
    return ""
