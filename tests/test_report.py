"""The report: it says what the run holds, and nothing in a run can make it do anything."""

import base64
import io
import json
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from test_sequence import write_run
from toy_sequence import toy_frames, toy_header, toy_sequence
from typer.testing import CliRunner

from dpm_cli.cli import app
from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.export.report_pictures import path_from_above, report_cloud, turntable
from dpm_cli.sequence import Sequence4D

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;"
_ALLOWED = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "p",
        "ul",
        "li",
        "div",
        "table",
    ),
    *("tr", "td", "figure", "figcaption", "img", "svg", "polyline"),
}


class Page(HTMLParser):
    """Tags with attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def page_of(sequence, tmp_path):
    export_sequence(sequence, "report", tmp_path / "r", overwrite=True)
    return Page((tmp_path / "r.html").read_text())


def run(tmp_path, manifest=None, name="walk_dpm"):
    header = toy_header()
    write_run(tmp_path / name, header, toy_frames(header), manifest or {})
    return Sequence4D.open(tmp_path / name)


def test_it_shows_pictures_numbers_notes_and_warnings(tmp_path):
    sequence = run(tmp_path, {"notes": ["focal 40 px from the clip"], "pairs": 7})
    sequence.camera_ok[2] = False
    page = page_of(sequence, tmp_path)
    assert "focal 40 px from the clip" in page.text
    assert "1 of 4 cameras are not registered: frames 2" in page.text
    assert "the scale is arbitrary" in page.text
    assert "camera_path_length" in page.text
    pictures = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(pictures) == 9
    for source in pictures:
        head, data = source.split(",")
        assert head == "data:image/jpeg;base64"
        assert np.array(Image.open(io.BytesIO(base64.b64decode(data)))).std() > 5
    assert sum(tag == "polyline" for tag, _ in page.tags) == 4


def test_a_hostile_name_or_manifest_runs_no_script(tmp_path):
    sequence = run(tmp_path, {"notes": [HOSTILE], "pairs": HOSTILE, "quality": {HOSTILE: HOSTILE}})
    hostile = Sequence4D(
        type(sequence.header)(**{**vars(sequence.header), "model": HOSTILE, "scale": HOSTILE}),
        sequence.frames,
        name=HOSTILE,
        manifest=sequence.manifest,
    )
    page = page_of(hostile, tmp_path)
    assert {tag for tag, _ in page.tags} <= _ALLOWED
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert "href" not in attributes
        assert tag != "img" or attributes["src"].startswith("data:image/jpeg")
    policy = [a["content"] for tag, a in page.tags if "http-equiv" in a]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    # It is said, not run: title, heading, model, scale, a note, pairs, and both sides of a quality.
    assert page.text.count(HOSTILE) == 8


def test_a_run_without_manifest_or_cameras_has_a_page_too(tmp_path):
    assert "toy" in page_of(toy_sequence(), tmp_path).text
    lost = toy_sequence()
    lost.camera_ok[:] = False
    page = page_of(lost, tmp_path)
    assert "4 of 4 cameras" in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == 2


def test_the_map_shows_where_the_camera_went(tmp_path):
    sequence = toy_sequence()
    picture = path_from_above(sequence, None).astype(int)
    width = picture.shape[1]
    orange = (picture[..., 0] > 200) & (picture[..., 2] < 120)
    rows, columns = np.nonzero(orange)
    # The toy's camera goes to the right (x .1 a frame) and forward (z .05): up and right on the map.
    first, last = columns.argmin(), columns.argmax()
    assert columns[last] - columns[first] > width / 2
    assert rows[last] < rows[first] - 0.2 * (columns[last] - columns[first])
    sequence.camera_ok[1] = False
    red = path_from_above(sequence, None).astype(int)
    assert ((red[..., 0] > 200) & (red[..., 1] < 100)).sum() > 10


def test_the_turntable_turns():
    sequence = toy_sequence()
    cloud = report_cloud(sequence, ExportOptions())
    assert cloud is not None
    views = turntable(sequence, cloud)
    assert len(views) == 6
    assert all((view != 24).any(-1).mean() > 0.15 for view in views)
    assert all((a != b).any() for a, b in pairwise(views))


def test_the_command_prints_the_path_and_refuses(tmp_path, monkeypatch):
    run(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["report", "walk_dpm", "-q"])
    assert result.stdout == "walk_dpm_report.html\n"
    again = CliRunner().invoke(app, ["report", "walk_dpm", "-q"])
    assert "exists" in str(again.exception)
    told = CliRunner().invoke(app, ["report", "walk_dpm", "--overwrite", "--json", "-q"]).stdout
    assert json.loads(told)["bytes"] == (tmp_path / "walk_dpm_report.html").stat().st_size


@pytest.mark.parametrize("count", [1, 2])
def test_short_clips_have_a_page(tmp_path, count):
    header = toy_header(count)
    write_run(tmp_path / "short", header, toy_frames(header))
    assert "frames" in page_of(Sequence4D.open(tmp_path / "short"), tmp_path).text
