import pytest
import torch
from synthetic_reference import cast_slowly

from dpm_cli.errors import UsageError
from dpm_cli.geometry.camera import intrinsics_matrix, pixel_grid, rays
from dpm_cli.workshop.synthetic import (
    CAMERA_KINDS,
    film,
    render,
    render_at,
    render_clip,
    render_clips,
    scene_seed,
)
from dpm_cli.workshop.synthetic.camera_paths import KIND_WEIGHTS
from dpm_cli.workshop.synthetic.raycast import cast, make_tables
from dpm_cli.workshop.synthetic.scene import Motion, SceneObjects, ShapeKind
from dpm_cli.workshop.synthetic.world import build_world

SIZE = (48, 64)


def frame_rays(K, size=SIZE):
    return rays(pixel_grid(*size).reshape(-1, 2).expand(len(K), -1, -1), K)


@pytest.fixture(scope="module")
def clips():
    return render_clips([scene_seed("val", i) for i in range(6)], 3, SIZE)


def test_lists_and_scatter_equal_the_slow_caster():
    seeds = torch.tensor([scene_seed("val", i) for i in range(20, 36)])
    world = build_world(seeds)
    motion = world.motion(torch.zeros(len(seeds), 1))
    tables = make_tables(world.objects, motion)
    K = intrinsics_matrix(world.focal * SIZE[1], *SIZE)
    direction, cameras = frame_rays(K), motion.cam2world[:, 0]
    depth, slot = cast(world.room, tables, cameras, K, direction, SIZE)
    seen = set()
    for f in range(len(seeds)):
        slow, which = cast_slowly(world, tables, f, cameras[f], direction[f])
        same = which == slot[f]
        assert same.float().mean() > 0.999
        hit = same & (which >= 0)
        assert ((depth[f] - slow).abs() / slow)[hit].max() < 1e-4
        seen |= set(tables.kind[f, which[which > 0]].tolist())
    assert seen == set(range(1, 8))


def test_a_sphere_has_its_analytic_depth():
    world = build_world(torch.tensor([0]))
    size = (64, 64)
    kind = torch.zeros_like(world.objects.kind)
    kind[0, 1] = ShapeKind.ELLIPSOID
    objects = SceneObjects(**{**vars(world.objects), "kind": kind, "active": kind > 0})
    state = world.motion(torch.zeros(1, 1))
    pose = torch.eye(4).expand(1, 1, kind.shape[1], 4, 4).clone()
    pose[..., :3, 3] = torch.tensor((0.2, -0.1, 1.5))
    motion = Motion(pose, torch.full_like(state.scale, 0.4), state.deform, torch.eye(4)[None, None])
    K = intrinsics_matrix(torch.tensor([60.0]), *size)
    depth, slot = cast(
        world.room, make_tables(objects, motion), motion.cam2world[0], K, frame_rays(K, size), size
    )
    d, c = frame_rays(K, size)[0].double(), torch.tensor((0.2, -0.1, 1.5), dtype=torch.float64)
    a, b = (d * d).sum(-1), d @ c
    disc = b * b - a * (c @ c - 0.16)
    ball = slot[0] == 1
    assert torch.equal(ball, disc > 0)
    assert 300 < ball.sum() < 2000
    expected = (b - disc.clamp_min(0).sqrt()) / a
    assert (depth[0] - expected)[ball].abs().max() < 1e-5


def test_the_same_seed_gives_the_same_clip(clips):
    again = render_clips([scene_seed("val", i) for i in range(6)], 3, SIZE)
    assert torch.equal(again.images, clips.images)
    assert torch.equal(again.depth, clips.depth)


def test_a_batch_equals_single_clips(clips):
    for k in (1, 4):
        single = render_clip(scene_seed("val", k), 3, SIZE)
        assert torch.equal(single.object_id[0], clips.object_id[k])
        assert (single.depth[0] - clips.depth[k]).abs().max() < 1e-4
        assert (single.images[0].int() - clips.images[k].int()).abs().float().mean() < 0.02


def test_a_frame_does_not_depend_on_the_clip_it_is_in(clips):
    later = render_at(clips.seed, torch.full((6, 1), 2), SIZE)
    assert (later.depth[:, 0] - clips.depth[:, 2]).abs().max() < 1e-4


def test_scenes_differ_and_are_well_exposed(clips):
    means = clips.images.float().mean((1, 2, 3, 4))
    assert means.min() > 40
    assert means.max() < 215
    assert clips.images.float().std((3, 4)).mean(-1).min() > 8
    assert (clips.depth[0] - clips.depth[1]).abs().mean() > 0.05


def test_camera_kinds_move_as_they_say():
    seeds = [scene_seed("val", 50 + i) for i in range(8)]
    for kind in CAMERA_KINDS:
        camera = build_world(torch.tensor(seeds), kind).camera
        path = camera.cam2world(torch.arange(24).expand(8, -1))
        assert torch.allclose(path[:, 0, :3, 3], torch.zeros(8, 3), atol=1e-5)
        shift = path[..., :3, 3].norm(dim=-1).amax(1)
        turn = (path[:, :, :3, :3] - path[:, :1, :3, :3]).abs().amax((1, 2, 3))
        moves, turns = kind in ("dolly", "orbit", "hand"), kind != "still"
        assert ((shift > 1e-3) == moves).all()
        assert ((turn > 1e-4) == turns).all()


def test_objects_enter_leave_and_deform():
    world = build_world(torch.tensor([scene_seed("val", i) for i in range(200)]))
    motion = world.motion(torch.arange(25.0).expand(200, -1))
    active = world.objects.active & world.objects.mover
    assert 200 < active.sum() < 200 * active.shape[1]
    stretch = (motion.scale[:, -1] / motion.scale[:, 0] - 1).abs().amax(-1)
    assert 0.05 < (stretch > 0.02)[active].float().mean() < 0.6
    bends = (motion.deform[:, -1] - motion.deform[:, 0]).abs().amax(-1) > 0.01
    soft = active & (world.objects.kind >= ShapeKind.SUPERQUADRIC)
    assert bends[soft].float().mean() > 0.9
    assert not bends[active & ~soft].any()
    limbs = (motion.pose[:, 8] - motion.pose[:, 0]).abs().amax((-1, -2)) > 1e-3
    assert limbs[active].float().mean() > 0.9
    still = world.objects.active & ~world.objects.mover
    assert ((motion.pose[:, 8] - motion.pose[:, 0]).abs().amax((-1, -2)) == 0)[still].all()


def test_supersampling_smooths_colours_and_keeps_the_truth():
    seed = scene_seed("val", 3)
    plain, fine = (render_clip(seed, 1, SIZE, supersample=n) for n in (1, 3))
    assert torch.equal(plain.depth, fine.depth)
    assert torch.equal(plain.object_id, fine.object_id)
    difference = (plain.images.float() - fine.images.float()).abs()
    assert 0.1 < difference.mean() < 12


def test_pools_of_camera_kinds_match():
    assert len(KIND_WEIGHTS) == len(CAMERA_KINDS)


@pytest.mark.parametrize(
    ("frames", "size", "camera"), [(0, SIZE, None), (1, (4, 64), None), (1, SIZE, "crane")]
)
def test_bad_requests_are_refused(frames, size, camera):
    with pytest.raises(UsageError):
        render_clip(0, frames, size, camera=camera)


def test_longer_clips_begin_like_shorter_ones(clips, monkeypatch):
    monkeypatch.setitem(render.CHUNK_PIXELS, "cpu", 4 * SIZE[0] * SIZE[1])
    longer = render_clip(scene_seed("val", 2), 5, SIZE)
    assert (longer.images[0, :3].int() - clips.images[2].int()).abs().float().mean() < 0.02
    assert longer.depth.shape[1] == 5


def test_motion_blur_smears_along_the_motion():
    light = torch.zeros(1, 1, 3, 33, 33)
    light[..., 16, 16] = 1
    smear = torch.zeros(1, 1, 2, 33, 33)
    smear[:, :, 0] = 8
    blurred = film._motion_blur(light, smear)[0, 0, 0]
    assert torch.allclose(blurred.sum(), torch.ones(()), atol=1e-5)
    assert blurred[16].sum() > 0.999
    assert set(blurred[16].nonzero()[:, 0].tolist()) == {12, 14, 16, 18, 20}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_renders_the_same_scenes(clips):
    there = render_clips(clips.seed, 3, SIZE, device="cuda").to("cpu")
    assert (there.object_id == clips.object_id).float().mean() > 0.999
    same = there.object_id == clips.object_id
    assert ((there.depth - clips.depth).abs() * same).max() < 1e-3
    assert (there.images.int() - clips.images.int()).abs().float().mean() < 0.5
