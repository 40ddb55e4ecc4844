"""Shapes that docstrings state, checked while the tests run: the words of the house are its annotations.

Every field of a dataclass says its shape under it, as in `(B, 2, H, W) pixels`; arguments say theirs in `Args:` or in
the sentence, as in "points (..., N, 3)". All of them are compared with what really comes, by jaxtyping: a number must
be that number, a name the same number throughout one call or one object, `...` is any axes. Anything else, such as `H
/ 4`, is one axis of any length.
"""

import ast
import functools
import importlib
import inspect
import itertools
import pkgutil
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Shaped, jaxtyped

import dpm_cli

LEFT_OUT = ("dpm_cli.__main__", "dpm_cli.formats.blender_script")
"""One runs the tool when it is imported, the other only inside Blender."""
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
            if not any(
                isinstance(value, cast(type, Shaped[type(value), axes])) for axes in one.axes
            ):
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


def install() -> Counter[str]:
    """Check the whole package from now on; returns how many arguments and fields are checked in each of its parts."""
    for info in pkgutil.walk_packages(dpm_cli.__path__, "dpm_cli."):
        if info.name not in LEFT_OUT:
            importlib.import_module(info.name)
    ours = {n: m for n, m in sys.modules.items() if n.startswith("dpm_cli.")}
    counts: Counter[str] = Counter()
    replaced: dict[int, Callable[..., Any]] = {}
    for name, module in ours.items():
        part = name.split(".")[1]
        for value in list(vars(module).values()):
            if getattr(value, "__module__", None) != name:
                continue
            if inspect.isclass(value):
                counts[part] += _check_class(value)
            elif inspect.isfunction(value) and (stated := arguments(value)):
                replaced[id(value)] = checked(value, stated)
                counts[part] += len(stated)
    for module in ours.values():
        for key, value in list(vars(module).items()):
            if id(value) in replaced:
                setattr(module, key, replaced[id(value)])
    return counts


def _check_class(kind: type) -> int:
    """Check the fields of a dataclass and the arguments of the methods; returns how many."""
    count = 0
    for name, method in list(vars(kind).items()):
        if inspect.isfunction(method) and (stated := arguments(method)):
            setattr(kind, name, checked(method, stated))
            count += len(stated)
    if is_dataclass(kind) and (stated := fields_of(kind)):
        _check_fields(kind, stated)
        count += len(stated)
    return count


def _check_fields(kind: type, stated: list[Stated]) -> None:
    plain = kind.__init__

    @functools.wraps(plain)
    def init(self, *args, **kwargs):
        plain(self, *args, **kwargs)
        if not torch.compiler.is_compiling():
            compare(vars(self), stated, kind.__name__)

    kind.__init__ = init
