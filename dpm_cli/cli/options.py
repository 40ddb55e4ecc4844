"""Options that are settings: their help, default, limits and environment variable come from `config`, none is repeated.

A command writes `size: Annotated[int | None, setting("size", of=CLIP)] = CLIP.size`.
"""

from typing import Any

import typer

from dpm_cli.config import ENVIRONMENT, ClipSettings, ReconstructSettings, helps
from dpm_cli.predictors import LOADERS

RUN = ReconstructSettings()
CLIP = ClipSettings()


def setting(field: str, *names: str, of: Any = RUN, panel: str | None = None, **limits: Any) -> Any:
    """A typer option for the field `field` of the settings `of`.

    Args:
        field: its name; the option is `--field` unless `names` say otherwise.
        names: as given to typer.
        of: the settings, whose docstrings are the help.
        panel: heading under which the help stands.
        limits: `min` and `max` as typer knows them.
    """
    words = helps(type(of))[field].format(predictors=", ".join(LOADERS))
    variable = f"DPM_{field.upper()}" if field in ENVIRONMENT else None
    return typer.Option(*names, help=words, envvar=variable, rich_help_panel=panel, **limits)
