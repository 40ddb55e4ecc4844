"""Shapes that docstrings state, checked while the tests run: the words of the house are its annotations.

Every field of a dataclass says its shape under it, as in `(B, 2, H, W) pixels`; arguments say theirs in `Args:` or in
the sentence, as in "points (..., N, 3)". Those of the packages in `CHECKED` are compared with what really comes, by
jaxtyping: a number must be that number, a name the same number throughout one call or one object, `...` is any axes.
Anything else, such as `H / 4`, is one axis of any length.
"""

import ast
import functools
import importlib
import inspect
import itertools
import pkgutil
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped, jaxtyped

CHECKED = ("geometry", "twoview", "focal", "align", "structures")
_ONE = r"(?:\.\.\.|[\w* /+-]+)"
_SHAPE = rf"\((?:\.\.\.|{_ONE},|{_ONE}(?:, ?{_ONE})+)?\)"
_SHAPES = re.compile(rf"({_SHAPE}(?: or {_SHAPE})*)")
_IN_SENTENCE = re.compile(rf"`?(\w+)`? ({_SHAPE}(?: or {_SHAPE})*)")
_AXIS = re.compile(r"\d+|[A-Za-z]\w*|\.\.\.")


class WrongShapeError(AssertionError):
    """A docstring and an array disagree."""


@dataclass(frozen=True)
class Stated:
    """What a docstring says of one value."""

    name: str
    text: str
    """As written, for the message."""
    axes: tuple[str, ...]
    """jaxtyping's strings, any of which may hold."""


def parse(name: str, text: str) -> Stated | None:
    """The shapes at the beginning of `text`, None where it does not begin with one."""
    found = _SHAPES.match(text.strip())
    if not found:
        return None
    each = re.findall(_SHAPE, found[1])
    axes = tuple(" ".join(_axis(a) for a in s[1:-1].split(",") if a.strip()) for s in each)
    return Stated(name, found[1], axes)


def _axis(text: str) -> str:
    text = text.strip()
    return text if _AXIS.fullmatch(text) else "_"


def arguments(function: Callable[..., Any]) -> list[Stated]:
    """What the docstring of a function says of its arguments."""
    text = inspect.getdoc(function) or ""
    names = list(inspect.signature(function).parameters)
    head, _, rest = text.partition("Args:")
    stated = {}
    for name, shape in _IN_SENTENCE.findall(head):
        if name in names:
            stated[name] = parse(name, shape)
    for line in re.findall(r"^    (\w+: .*)$", rest, re.MULTILINE):
        name, _, what = line.partition(": ")
        if name in names:
            stated[name] = parse(name, what)
    return [s for s in stated.values() if s]


def fields_of(kind: type) -> list[Stated]:
    """What the docstrings under a dataclass's fields say."""
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    found = []
    for field, said in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(said, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(said.value, ast.Constant)
            found.append(parse(field.target.id, str(said.value.value)))
    return [s for s in found if s]


def compare(values: dict[str, Any], stated: list[Stated], where: str) -> None:
    """Raise WrongShapeError where an array among `values` has another shape than stated."""
    with jaxtyped("context"):
        for one in stated:
            value = values.get(one.name)
            if not isinstance(value, (torch.Tensor, np.ndarray)):
                continue
            if not any(isinstance(value, Shaped[type(value), axes]) for axes in one.axes):
                shapes = {k: tuple(v.shape) for k, v in values.items() if hasattr(v, "shape")}
                raise WrongShapeError(f"{where}: {one.name} is {one.text}, but got {shapes}")


def checked(function: Callable[..., Any], stated: list[Stated]) -> Callable[..., Any]:
    """The function with its arguments compared first."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        if not torch.compiler.is_compiling():
            values = signature.bind(*args, **kwargs).arguments
            compare(values, stated, function.__qualname__)
        return function(*args, **kwargs)

    return wrapper


def install() -> dict[str, int]:
    """Check the packages in `CHECKED` from now on; returns how many functions, arguments, classes and fields are."""
    import dpm_cli

    for info in pkgutil.walk_packages(dpm_cli.__path__, "dpm_cli."):
        if info.name.split(".")[1] in CHECKED:
            importlib.import_module(info.name)
    ours = {n: m for n, m in sys.modules.items() if n.startswith("dpm_cli.")}
    counts = dict.fromkeys(("functions", "arguments", "classes", "fields"), 0)
    replaced: dict[int, Callable[..., Any]] = {}
    for name, module in ours.items():
        if name.split(".")[1] not in CHECKED:
            continue
        for value in list(vars(module).values()):
            if getattr(value, "__module__", None) != name:
                continue
            if inspect.isclass(value) and is_dataclass(value):
                stated = fields_of(value)
                _check_fields(value, stated)
                counts["classes"] += bool(stated)
                counts["fields"] += len(stated)
            elif inspect.isfunction(value):
                stated = arguments(value)
                if stated:
                    replaced[id(value)] = checked(value, stated)
                    counts["functions"] += 1
                    counts["arguments"] += len(stated)
    for module in ours.values():
        for key, value in list(vars(module).items()):
            if id(value) in replaced:
                setattr(module, key, replaced[id(value)])
    return counts


def _check_fields(kind: type, stated: list[Stated]) -> None:
    if not stated:
        return
    plain = kind.__init__

    @functools.wraps(plain)
    def init(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        if not torch.compiler.is_compiling():
            compare(vars(self), stated, kind.__name__)

    kind.__init__ = init
