"""Serves the viewer to a browser on this machine, for clips whose points are too many for one file.

Points are read from the run when a frame is asked for and sent as they are. The server listens on the loopback address
only, its address holds a word that other users of the machine cannot guess, and requests for other host names are
refused, so that no web page elsewhere can reach it under a name of its own (DNS rebinding).
"""

import secrets
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from dpm_cli.config import ExportOptions
from dpm_cli.errors import DpmError
from dpm_cli.export.clouds import moving_cloud
from dpm_cli.export.scenes import point_scene
from dpm_cli.export.viewer import frame_jpeg
from dpm_cli.formats.viewer_page import served_block, served_page
from dpm_cli.sequence import Sequence4D

HOST = "127.0.0.1"
_STILL_POINTS = 1_000_000
_SAMPLE_POINTS = 1_000
"""Moving points of all frames together from which the page's colour scales are made."""
_PICTURE_WIDTH = 480


class ViewerServer(ThreadingHTTPServer):
    """Listens once made; `serve_forever` answers, `shutdown` and `server_close` end it."""

    daemon_threads = True

    def __init__(self, sequence: Sequence4D, options: ExportOptions, port: int = 0):
        """Prepare the still points of `sequence`.

        Args:
            sequence: a run.
            options: confidence and threshold of the points shown; `max_points` of the still ones and of each frame.
            port: 0 = a free one.

        Raises:
            InputError: there is no point to show.
            DpmError: the port is taken.
        """
        some = (options.max_points or _STILL_POINTS, _SAMPLE_POINTS)
        scene = point_scene(sequence, replace(options, max_points=some[0]), some)
        self._sequence, self._options, self._reading = sequence, options, Lock()
        self._page = served_page(scene).encode()
        self._still = served_block(scene.still.mixed(), moving=False)
        self._word = secrets.token_urlsafe(9)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise DpmError(
                f"port {port} cannot be used ({error.strerror}): choose another --port"
            ) from error

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{HOST}:{self.server_port}/{self._word}/"

    def answer(self, host: str, path: str) -> tuple[str, bytes] | None:
        """Type and content of a request, None where there is no such thing or it is none of the asker's business."""
        prefix = f"/{self._word}/"
        if host != f"{HOST}:{self.server_port}" or not path.startswith(prefix):
            return None
        what, _, number = path.removeprefix(prefix).partition("/")
        if what == "":
            return "text/html; charset=utf-8", self._page
        if what == "still":
            return "application/octet-stream", self._still
        if not number.isascii() or not number.isdigit() or int(number) >= len(self._sequence):
            return None
        # Files of npz are read with a position of their own, but compressed ones are kept: one reader at a time.
        with self._reading:
            if what == "frame":
                cloud = moving_cloud(self._sequence, int(number), self._options)
                return "application/octet-stream", served_block(cloud.mixed(), moving=True)
            if what == "picture":
                return "image/jpeg", frame_jpeg(self._sequence, int(number), _PICTURE_WIDTH)
        return None


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and nothing else."""

    server: ViewerServer

    def do_GET(self) -> None:
        found = self.server.answer(self.headers.get("Host", ""), self.path)
        if found is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        kind, content = found
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal is the user's."""
