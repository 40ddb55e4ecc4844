"""Options of commands: settings become options by their own words, and what many commands share is written once.

A command takes a class of settings as one argument and names the fields that are its options:

    @with_options
    def flow(settings: Annotated[ReconstructSettings, fields("model", "size")] = RUN) -> None: ...

Help, type, default, limits and environment variable come from the class (`config.py`, `knobs.py`). A field without
words of its own is the setting of that name of a run.
"""

import inspect
from collections.abc import Callable
from dataclasses import Field, dataclass, is_dataclass, replace
from dataclasses import fields as fields_of
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from dpm_cli.config import ENVIRONMENT, ClipSettings, ExportOptions, ReconstructSettings
from dpm_cli.knobs import Knob, helps, knob_of
from dpm_cli.predictors import LOADERS

OUT = "Output"
"""Heading of what is said about files and messages."""
RUN = ReconstructSettings()
EXPORT = ExportOptions(min_confidence=RUN.min_confidence)

Run = Annotated[Path, typer.Argument(help="Run folder, or an npz of dpm export.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what is there.", rich_help_panel=OUT)
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON object on stdout.", rich_help_panel=OUT)
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.", rich_help_panel=OUT)]
MotionThreshold = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Motion score that counts as moving. Default: the run's.",
        rich_help_panel=OUT,
    ),
]


def output(words: str) -> Any:
    """The option `-o`."""
    return typer.Option("-o", "--output", help=words, rich_help_panel=OUT)


@dataclass(frozen=True)
class Chosen:
    """Fields of settings that are options of a command: heading to names."""

    panels: dict[str | None, tuple[str, ...]]


def fields(*names: str, **panels: tuple[str, ...]) -> Chosen:
    """Fields without a heading, and under headings (`Which_frames` is "Which frames")."""
    headed = {heading.replace("_", " "): those for heading, those in panels.items()}
    return Chosen({None: names, **headed})


CONFIDENCE = fields("min_confidence")


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer wants it: each argument annotated with `Chosen` becomes the options of those fields."""
    signature = inspect.signature(command)
    parameters: list[inspect.Parameter] = []
    settings: dict[str, Any] = {}
    for given in signature.parameters.values():
        chosen = [a for a in get_args(given.annotation) if isinstance(a, Chosen)]
        if chosen:
            settings[given.name] = given.default
            parameters += _options(given.default, chosen[0])
        else:
            parameters.append(given.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def run(**values: Any) -> None:
        for name, defaults in settings.items():
            values[name] = _filled(defaults, values)
        return command(**{name: values[name] for name in signature.parameters})

    vars(run)["__signature__"] = signature.replace(parameters=parameters)
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _options(defaults: Any, chosen: Chosen) -> list[inspect.Parameter]:
    found = _flat(defaults)
    return [
        _option(*found[name], heading) for heading, names in chosen.panels.items() for name in names
    ]


def _flat(settings: Any) -> dict[str, tuple[Any, Field]]:
    """Name to (settings that hold it, field), also of settings inside settings."""
    found = {}
    for field in fields_of(settings):
        value = getattr(settings, field.name)
        found |= _flat(value) if is_dataclass(value) else {field.name: (settings, field)}
    return found


def _option(settings: Any, field: Field, heading: str | None) -> inspect.Parameter:
    home, words = type(settings), helps(type(settings)).get(field.name)
    knob, default = knob_of(field.metadata), getattr(settings, field.name)
    if words is None:
        home, knob, words = _of_a_run(field.name)
    kind, default = _kind(get_type_hints(type(settings))[field.name], knob, default)
    names = knob.option or ("" if default is not False else f"--{field.name.replace('_', '-')}")
    known = home in (ReconstructSettings, ClipSettings) and field.name in ENVIRONMENT
    option = typer.Option(
        *names.split("|") if names else (),
        help=words.format(predictors=", ".join(LOADERS)),
        envvar=f"DPM_{field.name.upper()}" if known else None,
        rich_help_panel=heading,
        min=knob.least,
        max=knob.most,
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, option],
    )


def _of_a_run(name: str) -> tuple[type, Knob, str]:
    owner, field = _flat(RUN)[name]
    return type(owner), knob_of(field.metadata), helps(type(owner))[name]


def _kind(hint: Any, knob: Knob, default: Any) -> tuple[Any, Any]:
    """Type and default of an option as typer takes them."""
    if _repeated(knob, default):
        each = str if knob.reads else get_args(hint)[0]
        return list[each] | None, None
    if knob.reads is None:
        return hint, default
    return (str, knob.shown) if knob.shown is not None else (str | None, None)


def _filled(defaults: Any, values: dict[str, Any]) -> Any:
    """The settings with what the user gave; takes it out of `values`."""
    given = {}
    for field in fields_of(defaults):
        value = getattr(defaults, field.name)
        if is_dataclass(value):
            given[field.name] = _filled(value, values)
        elif field.name in values:
            given[field.name] = _read(values.pop(field.name), knob_of(field.metadata), value)
    return replace(defaults, **given)


def _read(text: Any, knob: Knob, default: Any) -> Any:
    if _repeated(knob, default):
        return tuple(knob.reads(t) if knob.reads else t for t in text or ())
    return knob.reads(text) if knob.reads and text is not None else text


def _repeated(knob: Knob, default: Any) -> bool:
    return isinstance(default, tuple) and knob.shown is None
