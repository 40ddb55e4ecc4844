"""`--flow-dir`: optical flow of the user's own takes the place of the measured one in a whole run."""

import numpy as np
import pytest
from oracle import OraclePredictor
from pictures import write_photos
from typer.testing import CliRunner

from dpm_cli.cli import app
from dpm_cli.config import ReconstructSettings
from dpm_cli.errors import InputError, UsageError
from dpm_cli.formats.flo import FlowField, read_flo, write_flo
from dpm_cli.pipeline import reconstruct
from dpm_cli.predictors import LOADERS
from dpm_cli.sequence import Sequence4D
from dpm_cli.workshop.synthetic import render_clip, scene_seed

FRAMES, SIZE = 3, (64, 96)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Rendered frames in one folder, and their exact flow in another."""
    truth = render_clip(scene_seed("test", 1), FRAMES, SIZE, camera="orbit")
    photos, flow = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("flow")
    write_photos(photos, truth)
    for t in range(FRAMES - 1):
        both = truth.pair(t, t + 1).flow[0].numpy()
        names = f"fwd_{t:06d}_{t + 1:06d}", f"bwd_{t + 1:06d}_{t:06d}"
        for name, field in zip(names, both, strict=True):
            write_flo(flow / f"{name}.flo", FlowField(field, np.ones(SIZE, bool)))
    return photos, flow, truth


def test_a_run_has_the_flow_that_was_given(clip, tmp_path):
    photos, flow, truth = clip
    arguments = ["reconstruct", str(photos), "-o", str(tmp_path / "run"), "--model", "geometric"]
    done = CliRunner().invoke(
        app, [*arguments, "--pairs", "1", "--flow-dir", str(flow), "--format", "none", "-q"]
    )
    assert done.exit_code == 0, done.output
    run = Sequence4D.open(tmp_path / "run")
    for t in range(FRAMES - 1):
        pair = truth.pair(t, t + 1)
        seen = pair.visible[0, 0].numpy() & run.frame(t).valid
        error = np.linalg.norm(run.frame(t).flow_fwd - pair.flow[0, 0].numpy(), axis=-1)
        assert np.quantile(error[seen], 0.9) < 1e-3


def test_a_pair_has_the_flow_that_was_given_at_the_size_of_its_images(clip, tmp_path):
    photos, flow, truth = clip
    pair = [str(photos / f"{t:03d}.png") for t in (0, 1)]
    arguments = [
        "flow",
        *pair,
        "-o",
        str(tmp_path / "pair"),
        "--model",
        "geometric",
        "--size",
        "48",
    ]
    done = CliRunner().invoke(app, [*arguments, "--flow-dir", str(flow), "-q"])
    assert done.exit_code == 0, done.output
    for name, exact in zip(("fwd", "bwd"), truth.pair(0, 1).flow[0].numpy(), strict=True):
        found = read_flo(tmp_path / "pair" / f"{name}.flo")
        assert found.valid.mean() > 0.5
        np.testing.assert_array_equal(found.flow[found.valid], exact[found.valid])


def test_a_missing_file_is_one_line_before_anything_is_predicted(clip, tmp_path):
    photos, _, _ = clip
    settings = ReconstructSettings(model="geometric", device="cpu", flow_dir=str(tmp_path))
    with pytest.raises(InputError, match=r"fwd_000000_000001 .* is missing"):
        reconstruct(str(photos), tmp_path / "run", settings)
    settings = ReconstructSettings(model="geometric", device="cpu", mask_dir=str(tmp_path))
    with pytest.raises(InputError, match=r"--mask-dir .*: no masks"):
        reconstruct(str(photos), tmp_path / "run", settings)
    assert not (tmp_path / "run").exists(), "both are told before anything is decoded"


def test_a_model_that_measures_no_flow_refuses(clip, tmp_path, monkeypatch):
    photos, flow, truth = clip
    monkeypatch.setitem(LOADERS, "oracle", lambda w, device, dtype: OraclePredictor(truth))
    settings = ReconstructSettings(model="oracle", device="cpu", flow_dir=str(flow))
    with pytest.raises(UsageError, match="oracle measures no flow"):
        reconstruct(str(photos), tmp_path / "run", settings)
