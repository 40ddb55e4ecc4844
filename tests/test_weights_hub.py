"""Pulling from the hub, against a stand-in on this machine that can cut the connection and send wrong bytes."""

import hashlib
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from network_helpers import public_moge, tiny_moge

pytest.importorskip("huggingface_hub")

REPOSITORY, FILE, COMMIT = (
    "someone/weights",
    "model.safetensors",
    "0123456789abcdef0123456789abcdef01234567",
)
# The hub's client writes ten MiB at a time: a shorter file would have nothing to go on from after a cut.
CONTENT = bytes(range(256)) * 96 * 1024
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Hub(ThreadingHTTPServer):
    """Serves one file as the hub does; `cuts` connections are dropped half-way, `wrong` answers have a bad byte."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repository, self.file, self.content = REPOSITORY, FILE, CONTENT
        self.cuts, self.wrong = 0, 0
        self.requests: list[tuple[str, str, str | None]] = []
        self.known = {"main", COMMIT}

    def downloads(self):
        """Range headers of the requests for the file's content."""
        return [
            wanted
            for method, path, wanted in self.requests
            if method == "GET" and path.endswith(self.file)
        ]


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        pass

    def do_HEAD(self):
        self.answer(send=False)

    def do_GET(self):
        self.answer(send=True)

    def answer(self, send):
        self.server.requests.append((self.command, self.path, self.headers.get("Range")))
        parts = self.path.split("?")[0].strip("/").split("/")
        known = self.server.repository.split("/"), ["resolve"], [self.server.file]
        right = (parts[:2], parts[2:3], parts[4:]) == known
        content = self.server.content
        digest = hashlib.sha256(content).hexdigest()
        if not right or parts[3] not in self.server.known:
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound" if right else "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted and send else 0
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Linked-ETag", f'"{digest}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.end_headers()
        if not send:
            return
        if self.server.cuts:
            self.server.cuts -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        if self.server.wrong:
            self.server.wrong -= 1
            body = body[:1000] + bytes([body[1000] ^ 1]) + body[1001:]
        self.wfile.write(body)


@pytest.fixture
def hub():
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


SCRIPT = """
import sys
from dpm_cli.errors import DpmError
from dpm_cli.weights.hub import pull
from dpm_cli.weights.table import WeightsEntry

class Reporter:
    def task(self, description, total):
        from dpm_cli.progress import SilentReporter
        return SilentReporter().task(description, total)
    def note(self, message):
        print("note", message)
    def detail(self, message):
        pass

entry = WeightsEntry("x", "dpm-large", "someone/weights", "model.safetensors", None, "MIT", "", sha256=SHA)
try:
    for revision in REVISIONS:
        record = pull(entry, revision=revision, reporter=Reporter())
        print(record.sha256, record.commit, record.path)
except DpmError as error:
    print("error", error.exit_code, error)
"""


def pull(tmp_path, hub, *, sha256=None, revisions=(None,), offline=False):
    """Run `pull` in a process of its own: the hub's client reads its environment when imported."""
    script = SCRIPT.replace("SHA", repr(sha256)).replace("REVISIONS", repr(revisions))
    return in_own_process(tmp_path, hub, script, offline=offline)


def in_own_process(tmp_path, hub, script, *, offline=False):
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "DPM_WEIGHTS_DIR": str(tmp_path / "store"),
        "PYTHONPATH": ":".join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pull_checks_pins_and_works_offline(tmp_path, hub):
    out = pull(tmp_path, hub)
    assert out.split()[:2] == [DIGEST, COMMIT]
    assert str(tmp_path / "hf") in out
    # A second pull asks for the commit of the first, and downloads nothing.
    assert hub.downloads() == [None]
    assert DIGEST in pull(tmp_path, hub)
    assert COMMIT in hub.requests[-1][1]
    assert hub.downloads() == [None]
    count = len(hub.requests)
    assert DIGEST in pull(tmp_path, hub, offline=True)
    assert len(hub.requests) == count


def test_a_cut_connection_goes_on_where_it_stopped(tmp_path, hub):
    hub.cuts = 1
    assert pull(tmp_path, hub).split("\n")[-2].split()[0] == DIGEST
    first, second = hub.downloads()
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").rstrip("-")) >= 10 * 2**20


def test_a_wrong_byte_is_fetched_again(tmp_path, hub):
    hub.wrong = 1
    out = pull(tmp_path, hub)
    assert "fetching it again" in out
    assert out.split("\n")[-2].split()[0] == DIGEST


def test_always_wrong_bytes_give_up_and_leave_nothing_behind(tmp_path, hub):
    hub.wrong = 1000
    out = pull(tmp_path, hub)
    assert "error 4" in out
    assert "after 3 downloads" in out
    assert len(hub.downloads()) == 3
    left = [
        p for p in (tmp_path / "hf").rglob("*") if p.is_file() and p.stat().st_size >= len(CONTENT)
    ]
    assert left == []
    assert not (tmp_path / "store").exists()


def test_the_sum_in_the_table_wins_over_the_hubs(tmp_path, hub):
    out = pull(tmp_path, hub, sha256="0" * 64)
    assert "error 4" in out
    assert "expected 0000" in out


MOGE_SCRIPT = """
from dataclasses import asdict, replace
from dpm_cli.progress import SilentReporter
from dpm_cli.weights.hub import pull
from dpm_cli.weights.store import Record
from dpm_cli.weights.table import entry_named
from dpm_cli.weights.verify import verify_entry

entry = replace(entry_named("moge-2-small"), sha256=SHA)
record = pull(entry)
verdict = verify_entry(entry, SilentReporter())
print(record.sha256, record.licence, record.origin, "|", verdict.network, verdict.checked_against, verdict.licence)
"""


def test_a_depth_prior_is_pulled_verified_and_keeps_its_licence(tmp_path, hub):
    path = tmp_path / "model.pt"
    torch.save(public_moge(tiny_moge()), path)
    hub.repository, hub.file = "Ruicheng/moge-2-vits-normal", "model.pt"
    hub.content = path.read_bytes()
    digest = hashlib.sha256(hub.content).hexdigest()
    out = in_own_process(tmp_path, hub, MOGE_SCRIPT.replace("SHA", repr(digest)))
    record, verdict = out.split("|")
    assert record.startswith(f"{digest} MIT")
    assert f"hub Ruicheng/moge-2-vits-normal@{COMMIT}" in record
    assert "MoGe-2 table MIT" in verdict


def test_the_table_holds_the_printed_sum_of_a_depth_prior(tmp_path, hub):
    hub.repository, hub.file = "Ruicheng/moge-2-vits-normal", "model.pt"
    script = "from dpm_cli.cli import main; main()"
    with pytest.raises(AssertionError, match="expected 79a16621928c"):
        in_own_process(
            tmp_path,
            hub,
            "import sys; sys.argv = ['dpm', 'models', 'pull', 'moge-2-small', '-q']; " + script,
        )


def test_missing_revision_and_offline_without_a_file(tmp_path, hub):
    out = pull(tmp_path, hub, revisions=("nowhere",))
    assert "error 4" in out
    assert "@nowhere" in out
    assert "error 4" in pull(tmp_path, hub, offline=True)


def test_without_the_extra_the_way_out_is_named(monkeypatch):
    from dpm_cli.errors import MissingExtraError
    from dpm_cli.progress import SilentReporter
    from dpm_cli.weights.hub import pull
    from dpm_cli.weights.table import entry_named

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"dpm-cli\[hub\]"):
        pull(entry_named("vdpm"), reporter=SilentReporter())
