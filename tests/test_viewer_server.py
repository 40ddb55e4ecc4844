"""The server of the viewer: what it sends, and to whom it does not."""

import http.client
import json
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import numpy as np
import pytest
from test_sequence import write_run
from toy_sequence import toy_frames, toy_header, toy_sequence

from dpm_cli.errors import DpmError
from dpm_cli.export import ExportOptions
from dpm_cli.export.clouds import moving_cloud, static_cloud
from dpm_cli.export.viewer_server import ViewerServer

OPTIONS = ExportOptions(min_confidence=3.0)


@pytest.fixture(scope="module")
def server():
    with ViewerServer(toy_sequence(), OPTIONS) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def ask(server, what, *, host=None, method="GET"):
    place = urlsplit(server.url)
    link = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    headers = {} if host is None else {"Host": host}
    link.request(method, what if what.startswith("/") else place.path + what, headers=headers)
    answer = link.getresponse()
    return answer.status, answer.read()


def test_points_are_those_of_the_run(server):
    sequence = toy_sequence()
    status, data = ask(server, "still")
    wanted = static_cloud(sequence, OPTIONS)
    assert (status, len(data)) == (200, 16 * len(wanted))
    points = np.frombuffer(data, "<f4", 3 * len(wanted)).reshape(-1, 3)
    assert np.array_equal(points, wanted.mixed().points)
    for t in range(4):
        cloud = moving_cloud(sequence, t, OPTIONS).mixed()
        data = ask(server, f"frame/{t}")[1]
        assert len(data) == 28 * len(cloud)
        assert cloud.motion is not None
        values = np.frombuffer(data, "<f4", 6 * len(cloud))
        assert np.array_equal(values[: 3 * len(cloud)].reshape(-1, 3), cloud.points)
        assert np.array_equal(values[3 * len(cloud) :].reshape(-1, 3), cloud.motion)
    assert ask(server, "picture/2")[1][:3] == b"\xff\xd8\xff"
    assert b"<canvas" in ask(server, "")[1]


@pytest.mark.parametrize(
    "what",
    [
        *("frame/4", "frame/-1", "frame/", "frame/x", "frame/%C2%B2"),
        *("other", "/", "/frame/0", "/../still"),
    ],
)
def test_nothing_else_is_there(server, what):
    assert ask(server, what)[0] == 404


def test_other_names_and_methods_are_refused(server):
    assert ask(server, "still", host="evil.example")[0] == 404
    assert ask(server, "still", host=f"evil.example:{server.server_port}")[0] == 404
    assert ask(server, "still", method="POST")[0] == 501


def test_it_listens_on_this_machine_only(server):
    assert server.server_address[0] == "127.0.0.1"
    with pytest.raises(DpmError, match="--port"):
        ViewerServer(toy_sequence(), OPTIONS, server.server_port)


def test_the_command_prints_the_address_and_serves(tmp_path):
    header = toy_header()
    write_run(tmp_path / "run", header, toy_frames(header))
    command = [
        sys.executable,
        "-m",
        "dpm_cli",
        "view",
        str(tmp_path / "run"),
        "--serve",
        "--no-browser",
        "--json",
        "-q",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            place = urlsplit(url)
            link = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
            link.request("GET", place.path)
            assert link.getresponse().status == 200
        finally:
            process.terminate()
