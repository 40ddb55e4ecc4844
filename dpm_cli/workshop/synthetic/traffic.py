"""Count the bytes and operations of a rendering: what eager torch moves through memory, and what fused kernels must.

Eager, every operation reads its inputs and writes its output; views are free and a gather reads as much as it returns.
Fused, a hot function (`fuse.py`) reads of each argument at most all of it once and writes its results; what lies
between hot functions stays eager. An operation is one output element of an elementwise function, whichever it is, and
two for each multiply-add of a matrix product.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_GATHERS = ("index_select", "index.Tensor", "gather", "embedding", "grid_sampler_2d")
_PRODUCTS = ("mm.default", "bmm.default", "baddbmm.default", "addmm.default")
_FREE = ("empty", "_unsafe_view", "_local_scalar_dense", "detach")


class Traffic(TorchDispatchMode):
    """Context that counts; `eager_bytes`, `fused_bytes` and `operations` hold the sums."""

    def __init__(self):
        super().__init__()
        self.eager_bytes = self.fused_bytes = self.operations = 0
        self.by_function: Counter[str] = Counter()
        """Fused bytes of each hot function; "lists" is everything between them."""
        self._reads: Counter[int] | None = None

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = str(func).removeprefix("aten.")
        if name.startswith(_FREE) or _is_view(func):
            return out
        written = [t for t in _tensors(out)]
        size = sum(t.nbytes for t in written)
        self.operations += _operations(name, args, written)
        gathers = name.startswith(_GATHERS)
        moved = size
        for place, t in enumerate(_tensors(args)):
            read = min(t.nbytes, size) if gathers and place == 0 else t.nbytes
            moved += read
            if self._reads is not None:
                self._reads[_storage(t)] += read
        self.eager_bytes += moved
        if self._reads is None:
            self._add("lists", moved)
        return out

    def call(self, function: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        """Run a hot function; one inside another is part of it."""
        if self._reads is not None:
            return function(*args, **kwargs)
        given = {_storage(t): t.untyped_storage().nbytes() for t in _tensors((args, kwargs))}
        self._reads = Counter()
        try:
            out = function(*args, **kwargs)
        finally:
            reads, self._reads = self._reads, None
        read = sum(min(size, reads[place]) for place, size in given.items())
        self._add(function.__name__.lstrip("_"), read + sum(t.nbytes for t in _tensors(out)))
        return out

    def _add(self, name: str, count: int) -> None:
        self.fused_bytes += count
        self.by_function[name] += count


def _is_view(func) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)


def _storage(t: Tensor) -> int:
    return t.untyped_storage().data_ptr()


def _operations(name: str, args: tuple, written: list[Tensor]) -> int:
    if name in _PRODUCTS:
        return 2 * written[0].numel() * args[-1].shape[-2]
    inputs = list(_tensors(args))
    return max((t.numel() for t in written + inputs[:1]), default=0)


def _tensors(value) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists, dicts and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))
