"""`dpm synth`."""

import json
from pathlib import Path
from typing import Annotated

import typer

_SCENES = "Scenes"
_PICTURES = "Pictures"
_OUT = "Output"


def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write, or an .mp4 for a single clip.")],
    split: Annotated[
        str,
        typer.Option(help="train, val or test; their scenes never meet.", rich_help_panel=_SCENES),
    ] = "val",
    index: Annotated[
        int, typer.Option(min=0, help="Number of the first scene.", rich_help_panel=_SCENES)
    ] = 0,
    clips: Annotated[
        int, typer.Option(min=1, help="How many scenes.", rich_help_panel=_SCENES)
    ] = 1,
    camera: Annotated[
        str | None,
        typer.Option(
            help="still, pan, dolly, orbit or hand. Default: drawn per scene.",
            rich_help_panel=_SCENES,
        ),
    ] = None,
    frames: Annotated[
        int, typer.Option(min=1, help="Frames per clip.", rich_help_panel=_PICTURES)
    ] = 24,
    size: Annotated[
        str,
        typer.Option(
            help="HEIGHTxWIDTH, or the long side of 4:3 pictures.", rich_help_panel=_PICTURES
        ),
    ] = "288x384",
    fps: Annotated[
        float, typer.Option(min=0.1, help="Frames a second.", rich_help_panel=_PICTURES)
    ] = 24.0,
    supersample: Annotated[
        int,
        typer.Option(
            min=1,
            max=4,
            help="Smoother edges: rays along a pixel's side.",
            rich_help_panel=_PICTURES,
        ),
    ] = 1,
    form: Annotated[
        str, typer.Option("--format", help="mp4 or frames (PNG).", rich_help_panel=_OUT)
    ] = "mp4",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=_OUT)] = "auto",
    compile_kernels: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="torch.compile: minutes to start, pays off for many clips on a GPU.",
            rich_help_panel=_OUT,
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is there.", rich_help_panel=_OUT)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout.", rich_help_panel=_OUT)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="No progress.", rich_help_panel=_OUT)
    ] = False,
) -> None:
    """Render dynamic scenes with exact ground truth, and print where they are.

    Beside each clip lies NAME_truth.npz: the arrays of `dpm export --to npz`, exact, and the objects' poses.

    [bold]Examples[/bold]

      dpm synth scenes --split test --clips 20 --frames 24 --size 288x384

      dpm synth demo.mp4 --index 1580 --camera dolly --frames 36 --size 288x432 --supersample 2

      dpm synth frames --format frames --clips 3 --json
    """
    from dpm_cli.cli.console import emit, reporter
    from dpm_cli.devices import pick_device
    from dpm_cli.workshop.synthetic.files import parse_form, parse_size, render_files

    chosen = pick_device(device)
    written = render_files(
        out,
        split=split,
        index=index,
        clips=clips,
        frames=frames,
        size=parse_size(size),
        fps=fps,
        camera=camera,
        form=parse_form(form),
        supersample=supersample,
        # Apple's GPUs have no double precision and are slow at 64 bit integers, which scenes are hashed with.
        device="cpu" if chosen.type == "mps" else chosen,
        compile=compile_kernels,
        overwrite=overwrite,
        reporter=reporter(quiet),
    )
    if as_json:
        rows = [{"clip": str(w.clip), "truth": str(w.truth), "seed": w.seed} for w in written]
        emit(json.dumps({"frames": frames, "clips": rows}))
    else:
        emit(str(out))
