"""What phones, action cameras and drones write of the lens into a film, built here by the documented formats."""

import io
import struct

import cv2
import numpy as np
import pytest
from video_files import ffmpeg, open_clip, write_video

from dpm_cli.clip_store import plan_clip
from dpm_cli.focal.camera import camera_focal
from dpm_cli.structures import Clip, LensData
from dpm_cli.video.gopro import lens_of_gpmf
from dpm_cli.video.mp4_boxes import boxes, metadata_items, whole
from dpm_cli.video.probe import probe

PICTURE = cv2.resize(
    (np.random.default_rng(0).random((4, 6, 3)) * 255).astype(np.uint8),
    (64, 48),
    interpolation=cv2.INTER_CUBIC,
)
KEY = "com.apple.quicktime.camera.focal_length.35mm_equivalent"
DIAGONAL = np.hypot(36, 24)
POLY = (0.0, 1.8229533, 0.1068096, -0.6631866, 0.3563110, 0.0, 0.0)
"""Of a HERO11, as its maker explains it: angle from the axis by distance from the middle."""


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("film") / "v.mp4", [PICTURE] * 3)


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def full(kind: bytes, *parts: bytes) -> bytes:
    return box(kind, bytes(4), *parts)


def klv(key: str, kind: str, each: int, data: bytes) -> bytes:
    head = key.encode() + bytes([ord(kind) if kind else 0, each])
    return head + struct.pack(">H", len(data) // each) + data + bytes(-len(data) % 4)


def gpmf(fov_deg, lens="W", poly=()):
    angles = klv("POLY", "f", 4, struct.pack(f">{len(poly)}f", *poly)) if poly else b""
    settings = klv("MINF", "c", 1, b"HERO11 Black") + klv("VFOV", "c", 1, lens.encode())
    settings += klv("EISA", "c", 3, b"N/A") + klv("ZFOV", "f", 4, struct.pack(">f", fov_deg))
    nested = klv("DEVC", "", 1, klv("DVID", "L", 4, bytes(4)) + settings + angles)
    return klv("DEVC", "", 1, klv("STRM", "", 1, klv("ACCL", "s", 6, bytes(600)))) + nested


def with_in_moov(film, path, more: bytes, behind: bytes = b""):
    """The film with boxes added to its index, which lies at its end, and bytes behind that."""
    data = film.read_bytes()
    at = data.rindex(b"moov") - 4
    assert at + int.from_bytes(data[at : at + 4], "big") == len(data)
    path.write_bytes(data[:at] + box(b"moov", data[at + 8 :], more) + behind)
    return path


def telemetry_track(at: int, size: int, wide: bool) -> bytes:
    """A track of one sample of GPMF, `size` bytes at `at` of the file."""
    matrix = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    tkhd = full(b"tkhd", bytes(8), struct.pack(">II", 9, 0), bytes(4), bytes(24), matrix, bytes(8))
    mdhd = full(b"mdhd", bytes(8), struct.pack(">IIHH", 1000, 300, 0, 0))
    hdlr = full(b"hdlr", b"mhlrmeta", bytes(12), b"\x0aGoPro MET")
    offsets = full(b"co64", struct.pack(">IQ", 1, at)) if wide else b""
    table = box(
        b"stbl",
        full(b"stsd", struct.pack(">I", 1), box(b"gpmd", bytes(6), b"\0\1")),
        full(b"stts", struct.pack(">III", 1, 1, 300)),
        full(b"stsc", struct.pack(">IIII", 1, 1, 1, 1)),
        full(b"stsz", struct.pack(">III", 0, 1, size)),
        offsets or full(b"stco", struct.pack(">II", 1, at)),
    )
    return box(b"trak", tkhd, box(b"mdia", mdhd, hdlr, box(b"minf", box(b"gmhd"), table)))


def gopro_film(film, path, data: bytes, wide=False):
    at = film.stat().st_size + len(telemetry_track(0, 0, wide)) + 8
    return with_in_moov(film, path, telemetry_track(at, len(data), wide), box(b"mdat", data))


@pytest.mark.parametrize("wide", [False, True])
def test_a_gopros_track_of_telemetry_tells_its_field_of_view(film, tmp_path, wide):
    path = gopro_film(film, tmp_path / "GX01.MP4", gpmf(90.0, "L"), wide)
    lens = probe(path).lens
    assert lens is not None
    assert lens.focal_35mm == pytest.approx(DIAGONAL / 2)
    assert lens.seen == "GoPro HERO11 Black linear: 90 deg from corner to corner"
    # ffmpeg knows the track for one of its kind, and copies it.
    copied = tmp_path / "copied.mp4"
    ffmpeg("-i", path, "-map", "0", "-c", "copy", "-copy_unknown", copied)
    assert b"gpmd" in copied.read_bytes()
    assert probe(copied).lens == lens


def test_its_user_data_too_and_zero_is_no_angle(film, tmp_path):
    data = box(b"udta", box(b"GPMF", gpmf(0.0), gpmf(120.0)))
    lens = probe(with_in_moov(film, tmp_path / "GX02.MP4", data)).lens
    assert lens is not None
    assert "120 deg from corner to corner, which bends straight lines" in lens.seen
    data = box(b"udta", box(b"GPMF", gpmf(0.0)))
    assert probe(with_in_moov(film, tmp_path / "GX03.MP4", data)).lens is None


def test_a_bent_lens_is_the_pinhole_that_is_right_half_way_to_the_corner():
    told, untold = lens_of_gpmf([gpmf(141.09, "W", POLY)]), lens_of_gpmf([gpmf(141.09, "W")])
    straight = lens_of_gpmf([gpmf(141.09, "L")])
    assert told is not None
    assert untold is not None
    assert straight is not None
    corner = next(r for r in np.arange(0, 1, 1e-4) if np.polyval(POLY[::-1], r) >= 1.23124)
    half_way = 0.5 / np.tan(np.polyval(POLY[::-1], corner / 2))
    assert told.focal_diagonals == pytest.approx(half_way, rel=2e-3)
    assert untold.focal_diagonals == pytest.approx(0.5 / np.tan(np.radians(141.09 / 4)))
    assert straight.focal_diagonals == pytest.approx(1 / np.tan(np.radians(141.09 / 2)))


def test_damaged_telemetry_tells_nothing_and_ends():
    data = gpmf(120.0)
    for end in range(0, len(data), 7):
        lens_of_gpmf([data[:end]])
    rng = np.random.default_rng(1)
    for _ in range(100):
        torn = np.frombuffer(data, np.uint8).copy()
        torn[rng.integers(0, len(torn), 8)] = rng.integers(0, 256, 8)
        lens_of_gpmf([torn.tobytes()])
    assert lens_of_gpmf([klv("ZFOV", "f", 4, struct.pack(">f", float("nan")))]) is None
    assert lens_of_gpmf([bytes(1 << 20)]) is None


def apple_meta(value: bytes, kind: int, iso: bool) -> bytes:
    keys = full(b"keys", struct.pack(">I", 2), box(b"mdta", b"other"), box(b"mdta", KEY.encode()))
    item = box(struct.pack(">I", 2), box(b"data", struct.pack(">II", kind, 0), value))
    hdlr = full(b"hdlr", bytes(4), b"mdta", bytes(13))
    return box(b"meta", bytes(4) if iso else b"", hdlr, keys, box(b"ilst", item))


@pytest.mark.parametrize("iso", [False, True])
@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (struct.pack(">i", 26), 21, 26.0),
        (b"\x0d", 22, 13.0),
        (struct.pack(">f", 77.5), 23, 77.5),
        (b"50.00mm", 1, 50.0),
        (b"27", 1, 27.0),
        (b"0", 1, None),
        (b"wide", 1, None),
        (b"\xff\xd8", 13, None),
    ],
)
def test_a_phones_word_may_be_text_or_number_and_stands_in_the_track(
    film, tmp_path, value, kind, expected, iso
):
    track = box(b"trak", box(b"mdia"), apple_meta(value, kind, iso))
    with open(with_in_moov(film, tmp_path / "IMG_1.MOV", track), "rb") as file:
        tracks = boxes(file, whole(file), b"moov", b"trak")
        items = [item for track in tracks for item in metadata_items(file, track)]
    assert [key for key, _ in items] == ([KEY] if kind != 13 else [])
    lens = plan_clip([str(tmp_path / "IMG_1.MOV")]).lens
    assert lens == (None if expected is None else LensData(expected, 0.15))


def test_what_editors_keep_of_it_stands_in_the_film(film, tmp_path):
    told = ("-movflags", "use_metadata_tags", "-metadata", f"{KEY}=24")
    ffmpeg("-i", film, "-c", "copy", *told, tmp_path / "told.mov")
    assert probe(tmp_path / "told.mov").lens == LensData(24.0, 0.15)
    assert probe(film).lens is None


def test_damaged_boxes_tell_nothing_and_end(film, tmp_path):
    whole_film = with_in_moov(film, tmp_path / "x.mov", apple_meta(b"27", 1, False)).read_bytes()
    start = whole_film.rindex(b"moov") - 4
    rng = np.random.default_rng(2)
    for _ in range(200):
        torn = np.frombuffer(whole_film[start:], np.uint8).copy()
        torn[rng.integers(8, len(torn), 6)] = rng.integers(0, 256, 6)
        file = io.BytesIO(torn.tobytes())
        for moov in boxes(file, whole(file), b"moov"):
            list(metadata_items(file, moov))
    for head in (b"", b"\0\0\0\0", struct.pack(">I4sQ", 1, b"moov", 1 << 60)):
        assert list(boxes(io.BytesIO(head), whole(io.BytesIO(head)), b"moov")) == []


SUBTITLE = """{n}
00:00:00,{n:03d} --> 00:00:00,{n:03d}
<font size="28">FrameCnt: {n}, DiffTime: 33ms
[iso: 100] [shutter: 1/500.0] [fnum: 1.7] {focal} [latitude: 0.0] [rel_alt: 1.300]</font>

"""


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        (["[focal_len: 24.00]"] * 3, 24.0),
        (["[focal_len : 240]"] * 3, 24.0),
        (["[focal_len: 162.00]"] * 3, 162.0),
        (["[focal_len : 240] [dzoom_ratio: 10000, delta:0],"] * 3, 24.0),
        (["[focal_len : 240] [dzoom_ratio: 20000, delta:0],"] * 3, 48.0),
        (["[focal_len: 24.00] [dzoom_ratio: 1.50],"] * 3, 36.0),
        (["[focal_len: 24.00]", "[focal_len: 48.00]"], None),
        (
            ["[focal_len: 24.00] [dzoom_ratio: 1.00],", "[focal_len: 24.00] [dzoom_ratio: 2.00],"],
            None,
        ),
        (["[focal_len: ..]", "[focal_len: 0.00]"], None),
        ([], None),
    ],
)
def test_a_drones_subtitles_tell_the_lens_and_what_was_magnified(film, tmp_path, each, expected):
    path = tmp_path / "DJI_0001.MP4"
    path.write_bytes(film.read_bytes())
    text = "".join(SUBTITLE.format(n=n, focal=focal) for n, focal in enumerate(each))
    path.with_suffix(".SRT").write_text(text)
    assert probe(path).lens == (None if expected is None else LensData(expected, 0.15))


def test_subtitles_in_the_film_too(film, tmp_path):
    text = "".join(
        f"{n + 1}\n00:00:00,{100 * n:03d} --> 00:00:00,{100 * n + 90:03d}\n[focal_len: 40.00]\n\n"
        for n in range(3)
    )
    (tmp_path / "s.srt").write_text(text)
    path = tmp_path / "DJI_0002.MP4"
    ffmpeg("-i", film, "-i", tmp_path / "s.srt", "-c:v", "copy", "-c:s", "mov_text", path)
    assert probe(path).lens == LensData(40.0, 0.15)


def test_a_part_of_the_picture_has_the_lens_of_the_whole():
    source_from_working = np.array([[2.0, 0, 100], [0, 2.0, 50], [0, 0, 1]])
    clip = Clip(
        "c",
        None,  # type: ignore[arg-type]
        (96, 144),
        (480, 640),
        source_from_working,
        np.arange(1),
        np.zeros(1),
        "",
        "",
        lens=LensData(50.0, 0.15),
    )
    found = camera_focal(clip)
    assert found is not None
    assert found.focal_px == pytest.approx(50 / DIAGONAL * 800 / 2)


def test_a_note_says_what_a_gopro_wrote(film, tmp_path):
    path = gopro_film(film, tmp_path / "GX01.MP4", gpmf(118.0, "W"))
    found = camera_focal(open_clip([str(path)], store=tmp_path / "store"))
    assert found is not None
    assert "HERO11 Black wide: 118 deg from corner to corner, which bends" in str(found.note(64))
