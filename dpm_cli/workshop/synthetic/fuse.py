"""The renderer's hot functions as fused kernels: one switch, `fusing`, for a whole rendering.

A hot function is tensors in, tensors out, with no size that depends on values; what has one (the work lists of
`raycast.py`) is built between them. Eager torch reads and writes memory for every operation of such a function, which
is all that its time is on a GPU; torch.compile makes it one pass. `dpm benchmark --what synth` measures both.
Compiled answers differ from plain ones by rounding: 1e-6 of a depth, another object at a few outline pixels.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import ParamSpec, TypeVar

import torch

from dpm_cli.workshop.synthetic.traffic import Traffic

P = ParamSpec("P")
R = TypeVar("R")

_ON: ContextVar[bool] = ContextVar("dpm_fusing", default=False)
_TRAFFIC: ContextVar[Traffic | None] = ContextVar("dpm_traffic", default=None)
_LOCK = threading.RLock()
"""Dynamo traces one thread at a time; the device runs one rendering at a time anyway."""
_VARIANTS = 64
"""A function is compiled once per shape of object and once per size that it meets, then for any size."""


@contextmanager
def fusing(on: bool) -> Iterator[None]:
    """Within the block, and in this thread, functions marked `hot` run compiled if `on`."""
    if not on:
        yield
        return
    token = _ON.set(True)
    try:
        with _LOCK, torch._dynamo.config.patch(recompile_limit=_VARIANTS):
            yield
    finally:
        _ON.reset(token)


@contextmanager
def counting() -> Iterator[Traffic]:
    """Count what is rendered within the block, in plain mode."""
    traffic = Traffic()
    token = _TRAFFIC.set(traffic)
    try:
        with traffic:
            yield traffic
    finally:
        _TRAFFIC.reset(token)


def hot(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a hot function. A graph break in it is an error, not a silent loss."""

    @cache
    def compiled() -> Callable[P, R]:
        return torch.compile(function, fullgraph=True)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        if (traffic := _TRAFFIC.get()) is not None:
            return traffic.call(function, args, kwargs)
        return (compiled() if _ON.get() else function)(*args, **kwargs)

    return call
