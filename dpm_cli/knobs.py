"""What a field of a class of settings says of its option beyond its words, default and type.

size: int | None = knob(None, least=32)
'Long side of the working images, pixels.'
"""

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

_KEY = "knob"


@dataclass(frozen=True)
class Knob:
    """How the option of a field differs from the plain `--field VALUE`; one of a tuple may be repeated."""

    least: float | None = None
    most: float | None = None
    option: str | None = None
    """As typer writes it: another name, `--a/--b` for a choice, `-o|--out` for a short one too."""
    reads: Callable[[str], Any] | None = None
    """Makes the value of the text that the user writes; of an option that may be repeated, of each."""
    shown: str | None = None
    """The default as the user would write it, where `reads` is given; the option is then one text, also of a tuple."""


def knob(default: Any, **how: Any) -> Any:
    """A dataclass field with a `Knob`, whose fields are the arguments."""
    return field(default=default, metadata={_KEY: Knob(**how)})


def knob_of(metadata: Any) -> Knob:
    """The `Knob` in a field's metadata, a plain one where there is none."""
    return metadata.get(_KEY, Knob())


@cache
def helps(kind: type) -> dict[str, str]:
    """Field to the words under it, of a class of settings."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: " ".join(str(words.value.value).split())
        for field, words in pairwise(body.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(words, ast.Expr)
        and isinstance(words.value, ast.Constant)
    }
