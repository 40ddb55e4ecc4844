"""One good file of every kind that dpm reads, the reader of each, and damage to it: for hypothesis and for fuzzing.

A reader may give a result or raise DpmError; anything else is a finding. Damage is what disks, networks and strangers
do: bytes changed, cut off, doubled, taken from elsewhere, and numbers made huge, negative or nothing.
"""

import random
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from toy_sequence import toy_frames, toy_header

from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.focal.given import parse_intrinsics
from dpm_cli.formats.colmap import read_colmap
from dpm_cli.formats.colmap_binary import read_colmap_binary
from dpm_cli.formats.depth_exr import ExrDepth, write_depth_exr
from dpm_cli.formats.depth_png import read_depth_png
from dpm_cli.formats.flo import read_flo
from dpm_cli.formats.glb import read_glb
from dpm_cli.formats.kitti_flow import read_kitti_flow
from dpm_cli.formats.mask_png import read_mask
from dpm_cli.formats.mesh import TriangleMesh
from dpm_cli.formats.mesh_files import read_mesh, write_mesh
from dpm_cli.formats.object_files import ObjectTable, read_object_table, write_object_table
from dpm_cli.formats.openexr import read_exr
from dpm_cli.formats.ply import read_ply
from dpm_cli.formats.track_files import (
    TrackTable,
    read_track_csv,
    read_track_npz,
    write_track_csv,
    write_track_npz,
)
from dpm_cli.formats.trajectory import read_kitti_poses, read_tum
from dpm_cli.formats.transforms_json import read_transforms
from dpm_cli.formats.viewer_page import read_viewer_page
from dpm_cli.matching.user_flow import _read as read_user_flow
from dpm_cli.prior.maps import read_map
from dpm_cli.sequence import RunWriter, Sequence4D, describe_sequence, verify_run
from dpm_cli.video.describe import describe_images
from dpm_cli.video.images import read_image
from dpm_cli.weights.inspect import describe
from dpm_cli.weights.mini_file import load_mini

INTERESTING = (0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1)
WORDS = (b"nan", b"inf", b"-1", b"1e999", b"9" * 30, b"0", b"", b"null", b"{}", b"[[[", b"../../x")
_NUMBER = re.compile(rb"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Reader:
    """A file or folder, which file of it gets damaged, and who reads it."""

    name: str
    root: Path
    """What the reader is given."""
    file: Path
    """What is damaged: `root` or a file in it."""
    read: Callable[[Path], object]

    def on(self, content: bytes, place: Path) -> Callable[[], object]:
        """A call of the reader on a copy with another content."""
        if self.root == self.file:
            path = place / self.file.name
            path.write_bytes(content)
            return lambda: self.read(path)
        copy = place / self.root.name
        if not copy.is_dir():
            shutil.copytree(self.root, copy)
        (copy / self.file.relative_to(self.root)).write_bytes(content)

        def call() -> object:
            try:
                return self.read(copy)
            finally:
                (copy / self.file.relative_to(self.root)).write_bytes(self.file.read_bytes())

        return call


def whole_sequence(path: Path) -> object:
    """Open a sequence and read all of it."""
    sequence = Sequence4D.open(path)
    return [sequence.frame(t) for t in range(min(len(sequence), 8))]


def image_facts(path: Path) -> object:
    """The header and the pixels of an image."""
    return describe_images(path), read_image(path)


def make_readers(root: Path) -> list[Reader]:
    """Good files of every kind in `root`, and their readers."""
    header = toy_header(3, (12, 16), (24, 32))
    frames = toy_frames(header)
    run = root / "run"
    writer = RunWriter(run, {"model": {"name": "toy"}, "notes": []})
    writer.write_cameras(header)
    for t, frame in enumerate(frames):
        writer.write_frame(t, frame)
    writer.stage_done("frames")
    sequence = Sequence4D.open(run)
    found = [
        Reader("manifest", run, run / "dpm.json", describe_sequence),
        Reader("journal", run, run / "dpm.json", verify_run),
        Reader("cameras", run, run / "cameras.npz", whole_sequence),
        Reader("frame", run, run / "frames" / "000001.npz", whole_sequence),
    ]
    options = ExportOptions(per_frame=True)

    def exported(name: str, file: str, read: Callable[[Path], object], whole: bool = False) -> None:
        target = root / f"to_{name}"
        if not target.exists():
            path = target / "out" if Path(file).suffix else target
            export_sequence(sequence, name, path, options)
        path = next(target.rglob(file))
        found.append(Reader(f"{name} {path.suffix}", target if whole else path, path, read))

    exported("npz", "*.npz", whole_sequence)
    exported("ply", "*.ply", read_ply)
    exported("flo", "*.flo", read_flo)
    exported("kitti-flow", "*.png", read_kitti_flow)
    exported("kitti-poses", "*.txt", read_kitti_poses)
    exported("tum", "*.txt", read_tum)
    exported("masks", "*.png", read_mask)
    exported("glb", "*.glb", read_glb)
    exported("html", "*.html", read_viewer_page)
    exported("nerfstudio", "transforms.json", read_transforms)
    exported("depth", "*.png", read_depth_png)
    found += _colmap(sequence, root / "colmap", options)
    return [*found, *_small_files(root / "small"), *_weights(root / "weights")]


def _colmap(sequence: Sequence4D, root: Path, options: ExportOptions) -> list[Reader]:
    export_sequence(sequence, "colmap", root, options)
    found = []
    for path in sorted(root.rglob("*")):
        if path.suffix in (".txt", ".bin") and path.stem in ("cameras", "images", "points3D"):
            read = read_colmap if path.suffix == ".txt" else read_colmap_binary
            found.append(Reader(f"colmap {path.name}", path.parent, path, read))
    return found


def _small_files(root: Path) -> list[Reader]:
    """Images, depth maps, flow, intrinsics, tracks, meshes."""
    root.mkdir()
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    found = []
    for name in ("a.png", "a.jpg", "a.bmp", "a.webp", "a.tif", "a.ppm", "a.avif"):
        Image.fromarray(picture).save(root / name)
        found.append(Reader(name, root / name, root / name, image_facts))
    Image.fromarray(picture[..., 0].astype(np.uint16) * 200).save(root / "deep.png")
    found.append(Reader("deep.png", root / "deep.png", root / "deep.png", image_facts))
    depth = rng.uniform(1, 5, (12, 16)).astype(np.float32)
    np.savez(root / "depth.npz", depth=depth, focal_px=np.float32(20))
    np.savez_compressed(root / "flow.npz", flow=np.zeros((12, 16, 2), np.float32))
    (root / "k.txt").write_text("20 0 8\n0 20 6\n0 0 1\n")
    found += [
        Reader("prior npz", root / "depth.npz", root / "depth.npz", lambda p: read_map(p, "depth")),
        Reader("prior png", root / "deep.png", root / "deep.png", lambda p: read_map(p, "depth")),
        Reader("flow npz", root / "flow.npz", root / "flow.npz", read_user_flow),
        Reader("intrinsics", root / "k.txt", root / "k.txt", lambda p: parse_intrinsics(str(p))),
    ]
    table = _tracks()
    write_track_csv(root / "t.csv", table)
    write_track_npz(root / "t.npz", table)
    found.append(Reader("track csv", root / "t.csv", root / "t.csv", read_track_csv))
    found.append(Reader("track npz", root / "t.npz", root / "t.npz", read_track_npz))
    write_object_table(root / "o.npz", _objects())
    found.append(Reader("objects npz", root / "o.npz", root / "o.npz", read_object_table))
    write_depth_exr(root / "d.exr", ExrDepth(depth, depth > 2, "metre"))
    found.append(Reader("exr", root / "d.exr", root / "d.exr", read_exr))
    corners = rng.uniform(0, 1, (5, 3)).astype(np.float32)
    mesh = TriangleMesh(
        corners, np.array([[0, 1, 2], [2, 3, 4]], np.int32), picture[0, :5], corners
    )
    for name in ("m.ply", "m.obj"):
        write_mesh(root / name, mesh)
        found.append(Reader(f"mesh {name}", root / name, root / name, read_mesh))
    return found


def _tracks() -> TrackTable:
    shapes = {"points": (3, 2, 3), "pixels": (3, 2, 2), "visible": (3, 2), "confidence": (3, 2)}
    arrays = {name: np.ones(shape) for name, shape in shapes.items()}
    arrays["visible"] = arrays["visible"].astype(bool)
    return TrackTable(timestamps=np.arange(3) / 10, **arrays)


def _objects() -> ObjectTable:
    shapes = {"object_poses": (3, 1, 4, 4), "object_residual": (3, 1), "object_moved": (3, 1)}
    return ObjectTable(
        object_id=np.ones((3, 4, 5), np.uint16),
        object_seen=np.ones((3, 1), bool),
        object_size=np.ones((1, 3)),
        object_color=np.zeros((1, 3), np.uint8),
        timestamps=np.arange(3) / 10,
        **{name: np.ones(shape) for name, shape in shapes.items()},
    )


def _weights(root: Path) -> list[Reader]:
    root.mkdir()
    tensors = {"enc_blocks.0.w": torch.zeros(2, 3), "dec_blocks.0.w": torch.ones(4)}
    save_file(tensors, root / "w.safetensors", metadata={"dpm_network": "pair", "dpm_config": "{}"})
    torch.save({"model": tensors}, root / "w.pth")
    return [
        Reader("safetensors", root / "w.safetensors", root / "w.safetensors", describe),
        Reader("pth", root / "w.pth", root / "w.pth", describe),
        Reader("mini", root / "w.safetensors", root / "w.safetensors", load_mini),
    ]


def damage(content: bytes, rng: random.Random) -> bytes:
    """The content after one to four accidents."""
    for _ in range(rng.randint(1, 4)):
        content = rng.choice((_flip, _cut, _double, _number, _integer, _drop))(content, rng)
    return content


def _place(content: bytes, rng: random.Random) -> int:
    """More often near an end, where headers are."""
    size = len(content)
    near = rng.choice((64, 512, size))
    at = rng.randrange(min(near, size)) if size else 0
    return at if rng.random() < 0.7 else max(size - 1 - at, 0)


def _flip(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: _place(content, rng)]


def _drop(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.choice((1, 2, 4, 8, 100)) :]


def _double(content: bytes, rng: random.Random) -> bytes:
    start, at = _place(content, rng), _place(content, rng)
    return content[:at] + content[start : start + rng.choice((1, 4, 16, 200))] + content[at:]


def _number(content: bytes, rng: random.Random) -> bytes:
    """A number in a text replaced."""
    found = list(_NUMBER.finditer(content[:20_000]))
    if not found:
        return _flip(content, rng)
    chosen = rng.choice(found)
    return content[: chosen.start()] + rng.choice(WORDS) + content[chosen.end() :]


def _integer(content: bytes, rng: random.Random) -> bytes:
    """A binary number replaced."""
    at = _place(content, rng)
    value = rng.choice(INTERESTING) & 0xFFFFFFFF
    packed = struct.pack(rng.choice("<>") + "I", value)[: rng.choice((2, 4))]
    return content[:at] + packed + content[at + len(packed) :]
