"""The table of everything that dpm writes from a finished reconstruction: one line a format.

A new format is its own file with a writer `(sequence, path, options) -> None`, a test, and a line here; help, defaults
and error messages come from this table. It names writers and does not import them, so that help needs neither torch nor
the libraries of the formats.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Output:
    """One format."""

    name: str
    """What the user types."""
    writer: str
    """`module:function` under `dpm_cli.export`, called with (sequence, path, options)."""
    suffixes: tuple[str, ...] = ()
    """Of the file that it writes, the first one where the user names none; empty = a folder."""
    or_folder: bool = False
    """A file or, where the options ask for one cloud a frame, a folder."""
    extra: str = ""
    """Name of the optional dependency that it needs, empty = none."""
    run_folder: str = ""
    """Folder of a run into which every run writes it unless told otherwise; empty = only `dpm export` writes it."""
    run_files: str = ""
    """Regular expression of the names that it gives its files there: what a new run may remove."""


_TABLE = (
    Output(
        "ply",
        "ply:export_ply",
        (".ply",),
        or_folder=True,
        run_folder="points",
        run_files=r"frame_\d{6}\.ply",
    ),
    Output("npz", "npz:export_npz", (".npz",)),
    Output(
        "flo",
        "motion:export_flo",
        run_folder="flow",
        run_files=r"(fwd|bwd)_\d{6}_\d{6}\.flo",
    ),
    Output("kitti-flow", "motion:export_kitti_flow"),
    Output("kitti-poses", "cameras:export_kitti_poses", (".txt",)),
    Output("depth", "depth:export_depth"),
    Output("depth-exr", "depth:export_depth_exr", extra="exr"),
    Output("masks", "motion:export_masks", run_folder="masks", run_files=r"dynamic_\d{6}\.png"),
    Output(
        "preview",
        "preview:export_preview",
        run_folder="preview",
        run_files=r".*\.(png|mp4|jpg)",
    ),
    Output("tum", "cameras:export_tum", (".txt",)),
    Output("colmap", "posed_images:export_colmap"),
    Output("nerfstudio", "posed_images:export_nerfstudio"),
    Output("usd", "scenes:export_usd", (".usd",), extra="usd"),
    Output("glb", "scenes:export_glb", (".glb",)),
    Output("mesh", "mesh:export_mesh", (".ply", ".obj", ".glb")),
    Output("blender", "blender:export_blender"),
    Output("rerun", "rerun_file:export_rerun", (".rrd",), extra="rerun"),
    Output("objects", "objects:export_objects"),
    Output("html", "viewer:export_html", (".html",)),
    Output("report", "report:export_report", (".html",)),
)

OUTPUTS: dict[str, Output] = {output.name: output for output in _TABLE}
"""By name, in the order of help."""

RUN_FORMATS: tuple[str, ...] = tuple(o.name for o in _TABLE if o.run_folder)
"""What a run writes by default, and may be told to write."""


def listed(outputs: dict[str, Output] = OUTPUTS) -> str:
    """Names for help: `a, b or c (extra x)`."""
    names = [o.name + (f" (extra {o.extra})" if o.extra else "") for o in outputs.values()]
    return ", ".join(names[:-1]) + f" or {names[-1]}"
