"""The viewer in a real browser, headless Chromium: what is drawn, not what is said. Skipped where there is none."""

import json
import re
import shutil
import subprocess
import threading

import numpy as np
import pytest
from toy_sequence import toy_sequence

from dpm_cli.export import ExportOptions, export_sequence
from dpm_cli.export.viewer_server import ViewerServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",
    "--use-angle=swiftshader",
    "--window-size=480,360",
    "--virtual-time-budget=8000",
    "--dump-dom",
]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

PROBE = """<script>
const found = {};
function look(name) {
  draw();
  const [w, h] = [canvas.width, canvas.height], data = new Uint8Array(4 * w * h);
  gl.readPixels(0, 0, w, h, gl.RGBA, gl.UNSIGNED_BYTE, data);
  let lit = 0, sum = 0;
  for (let n = 0; n < data.length; n += 4) {
    if (data[n] > 30 || data[n + 1] > 30 || data[n + 2] > 36) lit++;
    sum = (sum * 31 + data[n] + 7 * data[n + 1] + 13 * data[n + 2]) % 1000003;
  }
  found[name] = { lit: lit / (w * h), sum };
}
function set(id, value) {
  if ($(id).type === "checkbox") $(id).checked = value; else $(id).value = value;
  $(id).dispatchEvent(new Event("input"));
}
const key = k => window.dispatchEvent(new KeyboardEvent("keydown", { key: k, bubbles: true }));
const touch = (kind, id, x, y) => canvas.dispatchEvent(new PointerEvent(kind, { pointerId: id, clientX: x, clientY: y,
  pointerType: "touch", buttons: 1, bubbles: true }));
canvas.setPointerCapture = () => {};
function probe() {
  set("cameras", false);
  look("first");
  set("time", 3); look("slid"); set("time", 0); look("back");
  set("static", false); look("movers"); set("static", true);
  for (const mode of [1, 2, 3]) { set("colour", mode); look("colour" + mode); }
  set("colour", 0);
  set("confidence", 4); look("sure"); set("confidence", 0);
  set("time", 3); set("tracks", true); look("tracks"); set("tracks", false);
  set("time", 0); set("flow", true); look("flow"); set("flow", false);
  key("ArrowRight"); found.keyed = +$("time").value; look("key"); key("Home");
  touch("pointerdown", 1, 200, 150); touch("pointermove", 1, 260, 150); touch("pointerup", 1, 260, 150); look("turned");
  key("r"); look("reset");
  touch("pointerdown", 1, 200, 150); touch("pointerdown", 2, 220, 150); touch("pointermove", 2, 300, 150);
  found.pinched = view.distance / scene.distance;
  touch("pointerup", 1, 0, 0); touch("pointerup", 2, 0, 0); key("r");
  set("tracks", true); draw();
  const sent = { draws: 0, uploads: 0, questions: 0 }, drawn = gl.drawArrays, uploaded = gl.bufferData;
  gl.drawArrays = (...a) => { sent.draws++; drawn.apply(gl, a); };
  gl.bufferData = (...a) => { sent.uploads++; uploaded.apply(gl, a); };
  for (const name of ["getUniformLocation", "getAttribLocation", "getError", "getParameter"])
    gl[name] = () => { sent.questions++; };
  view.yaw += 0.1; draw(); found.sent = sent;
  for (const name of ["getUniformLocation", "getAttribLocation", "getError", "getParameter"]) delete gl[name];
  gl.drawArrays = drawn; gl.bufferData = uploaded; set("tracks", false); key("r");
  found.picture = $("picture").naturalWidth;
  found.all = draw();
  found.some = draw(100);
  look("again");
  // A card that needs a second for all points gets fewer while the view moves, and all of them when it rests.
  const counts = [], drawing = draw;
  most = Infinity; wanted = true;
  const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
  painting = { since: performance.now() - 1000, drawn: 3000, all: 3000, fence };
  draw = n => { const done = drawing(n); counts.push(done.drawn); return done; };
  FEWEST = 200;
  gl.clientWaitSync = () => gl.CONDITION_SATISFIED;
  paced();
  let turns = 0;
  (function finish() {
    if (counts[counts.length - 1] !== found.all.all && ++turns < 40) return setTimeout(finish, 100);
    found.counts = counts;
    found.error = gl.getError();
    document.body.setAttribute("data-found", JSON.stringify(found));
  })();
}
WHEN
</script>"""


WAITING = """(function wait() {
  if (still.points && frame(0) && frame(3)) setTimeout(probe, 1000); else setTimeout(wait, 50);
})();"""


def looked_at(url, profile):
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'data-found="([^"]+)"', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(found[1].replace("&quot;", '"'))


def with_probe(page, when):
    return page.replace("</body>", PROBE.replace("WHEN", when) + "</body>")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    export_sequence(toy_sequence(), "html", folder / "a", ExportOptions())
    page = folder / "a.html"
    # The picture is decoded while the page waits.
    page.write_text(with_probe(page.read_text(), "setTimeout(probe, 1000);"))
    return looked_at(page.as_uri(), folder / "profile")


def test_the_first_view_fills_the_window(found):
    assert found["error"] == 0
    # A 24th of the toy, its first row, has no depth; points are round.
    assert found["first"]["lit"] > 0.85
    assert found["picture"] == 36


def test_pixels_change_with_the_slider_and_back(found):
    assert found["slid"]["sum"] != found["first"]["sum"]
    assert found["back"] == found["first"]
    assert 0.02 < found["movers"]["lit"] < 0.4


def test_colours_filter_paths_and_arrows_are_drawn(found):
    sums = {found[name]["sum"] for name in ("first", "colour1", "colour2", "colour3")}
    assert len(sums) == 4
    # Half of the toy's confidence lies below 2 to the 4th, so some of the points go.
    assert found["sure"]["lit"] < found["first"]["lit"] - 0.02
    assert found["tracks"]["sum"] != found["slid"]["sum"]
    assert found["flow"]["sum"] != found["first"]["sum"]


def test_keys_and_fingers(found):
    assert found["keyed"] == 1
    assert found["key"]["sum"] != found["first"]["sum"]
    assert found["turned"]["sum"] != found["first"]["sum"]
    assert found["reset"] == found["first"]
    assert found["pinched"] == pytest.approx(0.2, abs=0.01)


def test_turning_the_view_sends_no_points_again(found):
    """Points stay on the graphics card, so a frame costs the page the same however many there are."""
    assert found["sent"] == {"draws": 3, "uploads": 0, "questions": 0}


def test_fewer_points_are_drawn_while_a_slow_card_is_kept_moving(found):
    assert found["all"]["drawn"] == found["all"]["all"] > 2000
    assert 100 <= found["some"]["drawn"] <= 102
    assert found["some"]["all"] == found["all"]["all"]
    assert found["counts"][0] == pytest.approx(300, abs=2)
    assert found["counts"][-1] == found["all"]["all"]
    assert found["again"] == found["first"]


def test_a_served_clip_is_drawn_too(tmp_path):
    sequence = toy_sequence()
    with ViewerServer(sequence, ExportOptions()) as server:
        server._page = with_probe(server._page.decode(), WAITING).encode()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = looked_at(server.url, tmp_path / "profile")
        server.shutdown()
    assert found["error"] == 0
    assert found["first"]["lit"] > 0.85
    assert found["slid"]["sum"] != found["first"]["sum"]
    assert found["flow"]["sum"] != found["first"]["sum"]
    assert found["picture"] == 36
    assert np.isfinite(found["movers"]["lit"])
