"""Scores of objects: the truth is perfect, and known faults give known numbers."""

import numpy as np
import pytest
from truth_arrays import sequence_arrays

from dpm_cli.sequence import Sequence4D
from dpm_cli.workshop.datasets.synth import truth_of_clip
from dpm_cli.workshop.evaluate.matched import MatchedSequence
from dpm_cli.workshop.evaluate.object_scores import score_objects
from dpm_cli.workshop.evaluate.sequence_scores import score_sequence
from dpm_cli.workshop.synthetic import render_clip, scene_seed


@pytest.fixture(scope="module")
def clip():
    return render_clip(scene_seed("test", SCENE), 5, (72, 96), camera="orbit")


SCENE = 7
"""With rigid movers."""


@pytest.fixture(scope="module")
def truth(clip):
    return truth_of_clip(clip, "scene")


@pytest.fixture
def arrays(clip):
    return {k: v.copy() for k, v in sequence_arrays(clip).items()}


def scores(arrays, truth, world=None):
    """With the similarity (4, 4) from the arrays' world to that of the first camera, which is the arrays' as made."""
    matched = MatchedSequence.match(Sequence4D.from_arrays(arrays), truth)
    return score_objects(matched, truth.cam2world[0] @ (np.eye(4) if world is None else world))


def test_true_objects_keep_their_parts_together(clip, truth):
    assert truth.objects is not None
    moving = [truth.objects.ids[t] >= 0 for t in range(5)]
    assert any(each.any() for each in moving)
    for t, each in enumerate(moving):
        mover = clip.mover[0].numpy()[np.maximum(clip.object_id[0, t].numpy(), 0)]
        assert mover[each].all()


def test_the_truth_is_perfect(arrays, truth):
    found = score_sequence(Sequence4D.from_arrays(arrays), truth).values
    assert found["object_found"] == 1
    assert found["object_one_id"] == 1
    assert found["object_rpe_rot_deg"] < 0.05
    assert found["object_rpe_share"] < 0.02


def test_scene_flow_that_is_half_is_half_the_motion(arrays, truth):
    for way in ("fwd", "bwd"):
        arrays[f"scene_flow_{way}"] *= 0.5
    assert scores(arrays, truth)["object_rpe_share"] == pytest.approx(0.5, abs=0.06)


def test_still_objects_are_those_that_are_not_found(arrays, truth):
    arrays["dynamic"][:] = 0
    found = scores(arrays, truth)
    assert found["object_found"] == 0
    assert "object_rpe_rot_deg" not in found


def test_another_world_and_scale_change_nothing(arrays, truth):
    before = scores(arrays, truth)
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = 3 * turn, (5, -2, 1)
    poses = world @ arrays["cam2world"]
    poses[:, :3, :3] /= 3
    arrays["cam2world"] = poses
    arrays["depth"] *= 3
    for way in ("fwd", "bwd"):
        arrays[f"scene_flow_{way}"] = (arrays[f"scene_flow_{way}"] @ world[:3, :3].T).astype(
            np.float32
        )
    after = scores(arrays, truth, np.linalg.inv(world))
    assert after["object_found"] == before["object_found"]
    for name in ("object_rpe_trans", "object_rpe_share", "object_rpe_rot_deg"):
        assert after[name] == pytest.approx(before[name], abs=2e-3)
