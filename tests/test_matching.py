"""Flow of a pair: found where the motion is large, exact where it is small, honest about its error."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dpm_cli.errors import InputError
from dpm_cli.formats.flo import FlowField, write_flo
from dpm_cli.formats.kitti_flow import write_kitti_flow
from dpm_cli.matching.at_source import LONGEST_PX, flow_at_source
from dpm_cli.matching.chain import compose
from dpm_cli.matching.choice import best_of
from dpm_cli.matching.common_motion import without_common_motion
from dpm_cli.matching.consistency import comes_back, consistency_error
from dpm_cli.matching.dense_match import dense_match, structure_tensor
from dpm_cli.matching.dis import dis_flow, pair_flows
from dpm_cli.matching.features import find_features, match_features
from dpm_cli.matching.interpolate import clean, trusted
from dpm_cli.matching.matcher import Matcher
from dpm_cli.matching.measure import measure_flow
from dpm_cli.matching.picture import Picture
from dpm_cli.matching.user_flow import UserFlow
from dpm_cli.video.bars import Area

SIZE = (128, 192)
SHIFT = 70


def wide_texture() -> torch.Tensor:
    """(3, 128, 262) of noise at several scales, so that features are found."""
    generator = torch.Generator().manual_seed(4)
    parts = []
    for cells in (8, 16, 32, 64):
        noise = torch.rand(1, 3, cells, 2 * cells, generator=generator)
        parts.append(F.interpolate(noise, (SIZE[0], SIZE[1] + SHIFT), mode="bicubic"))
    total = torch.stack(parts).mean(0)[0]
    return ((total - total.min()) / (total.max() - total.min())).float()


def shifted(shift: int) -> tuple[torch.Tensor, torch.Tensor]:
    wide = wide_texture()
    return wide[None, :, :, : SIZE[1]], wide[None, :, :, shift : shift + SIZE[1]]


def picture(image: torch.Tensor) -> Picture:
    return Picture((image[0].permute(1, 2, 0) * 255).round().byte().numpy())


class Frames:
    """A frame reader of images (T, H, W, 3) uint8."""

    def __init__(self, images: np.ndarray):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices) -> np.ndarray:
        return self.images[list(indices)]


def test_a_motion_too_large_for_plain_search_is_found():
    first, second = shifted(SHIFT)
    inner = (slice(None), slice(None), slice(8, -8), slice(SHIFT + 8, -8))
    truth = torch.tensor((-float(SHIFT), 0.0))
    plain = (pair_flows(first, second)[:, :1][inner] - truth).norm(dim=-1)
    found = (Matcher(1).flows(first, second)[:, :1][inner] - truth).norm(dim=-1)
    assert plain.mean() > 10
    assert found.mean() < 0.5


def test_motion_that_plain_search_finds_is_found_better():
    first, second = shifted(5)
    inner = (slice(None), slice(None), slice(8, -8), slice(13, -8))
    truth = torch.tensor((-5.0, 0.0))
    plain, found = (
        (flow[:, :1][inner] - truth).norm(dim=-1).mean()
        for flow in (pair_flows(first, second), Matcher(1).flows(first, second))
    )
    assert found < plain
    assert found < 0.1


def test_flow_of_a_large_source_is_in_its_own_pixels():
    """Measured at half the size, a shift of 24 pixels is still one of 24 pixels."""
    texture = (wide_texture()[:, :64].permute(1, 2, 0) * 255).byte().numpy()
    wide = cv2.resize(np.tile(texture, (1, 8, 1)), (2 * LONGEST_PX + 24, 256))
    flow = flow_at_source(wide[:, 24:], wide[:, :-24])[0]
    assert flow.shape == (256, 2 * LONGEST_PX, 2)
    assert np.median(np.linalg.norm(flow - (24, 0), axis=-1)) < 0.2


def test_a_mover_keeps_its_outline():
    """A square moves 6 px before a still background: flow changes within two pixels of its outline."""
    first = wide_texture()[None, :, :, : SIZE[1]]
    patch = wide_texture()[None, :, 30:80, 190:240]
    one, two = first.clone(), first.clone()
    one[:, :, 40:90, 60:110], two[:, :, 40:90, 66:116] = patch, patch
    flow = measure_flow(picture(one), picture(two), thorough=True)[0]
    assert np.abs(flow[44:86, 64:106] - (6, 0)).mean() < 0.3
    outside = np.ones(SIZE, bool)
    outside[37:93, 57:119] = False
    assert np.abs(flow[outside]).mean() < 0.05


def test_images_without_anything_in_common_give_finite_flow():
    noise = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)) * 0.02
    flat = torch.full((1, 3, *SIZE), 0.9)
    flow = Matcher(1).flows(noise, flat)
    assert flow.shape == (1, 2, *SIZE, 2)
    assert flow.isfinite().all()
    assert find_features(picture(flat).grey)[0].points.shape == (0, 2)
    assert match_features(picture(flat).features, picture(noise).features) is None


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (33, 65)])
def test_small_and_odd_sizes(size):
    image = F.interpolate(wide_texture()[None], size, mode="area")
    flow = Matcher(1).flows(image, image)
    assert flow.abs().max() < 0.5


def test_forward_backward_error_is_the_same_for_arrays_and_tensors():
    generator = np.random.default_rng(0)
    both = generator.normal(0, 3, (2, *SIZE, 2)).astype(np.float32)
    both = np.stack([cv2.GaussianBlur(f, (0, 0), 5) * 8 for f in both])
    error, inside = comes_back(both[0], both[1])
    tensor = consistency_error(torch.from_numpy(both)[None])[0, 0].numpy()
    # OpenCV samples at 1/32 of a pixel.
    np.testing.assert_allclose(error, tensor, atol=0.1)
    assert 0 < inside.mean() < 1


def test_the_better_candidate_is_taken_pixel_by_pixel():
    first, second = (picture(i) for i in shifted(5))
    right = np.broadcast_to(np.array((-5, 0), np.float32), (*SIZE, 2))
    mixed, back = right.copy(), -right.copy()
    mixed[:, :100] += 9
    other, other_back = right.copy(), -right.copy()
    other[:, 100:] -= 9
    chosen = best_of([(mixed, back), (other, other_back)], first.grey, second.grey)[0]
    inner = chosen[16:-16, 24:-24]
    assert np.abs(inner - (-5, 0)).max(-1).mean() < 0.2
    assert best_of([(mixed, back)], first.grey, second.grey)[0] is mixed


def test_what_does_not_come_back_is_taken_from_around_it():
    first, second = (picture(i) for i in shifted(5))
    flow, back = (
        np.full((*SIZE, 2), np.array((-5, 0), np.float32)),
        np.full((*SIZE, 2), np.array((5, 0), np.float32)),
    )
    flow[50:70, 80:110] = (3, 7)
    assert not trusted(flow, back)[52:68, 84:106].any()
    cleaned = clean(flow, back, first, second)
    assert np.abs(cleaned[50:70, 80:110] - (-5, 0)).max() < 0.5


def zoomed(zoom: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two grey pictures, the second larger about the centre and turned by 5 degrees, and the true flow."""
    turn = cv2.getRotationMatrix2D((SIZE[1] / 2, SIZE[0] / 2), 5.0, zoom)
    first = picture(shifted(0)[0]).grey
    second = cv2.warpAffine(
        first, turn, SIZE[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    moved = np.stack((x, y, np.ones_like(x)), -1) @ turn.T
    return first, second, (moved - np.stack((x, y), -1)).astype(np.float32)


def test_a_zooming_camera_is_measured_better_around_its_common_motion():
    first, second, truth = zoomed(1.2)
    plain = dis_flow(first, second, "sharp")
    good = np.linalg.norm(plain - truth, axis=-1) < 1
    again = without_common_motion(first, second, plain, good)
    assert again is not None
    inner = (slice(24, -24), slice(24, -24))
    before, after = (np.linalg.norm(f - truth, axis=-1)[inner] for f in (plain, again[0]))
    assert np.median(after) < 0.7 * np.median(before)


def test_without_matches_there_is_no_common_motion():
    first, second, truth = zoomed(1.2)
    assert without_common_motion(first, second, truth, np.zeros(SIZE, bool)) is None
    still = np.zeros((*SIZE, 2), np.float32)
    assert without_common_motion(first, first, still, np.ones(SIZE, bool)) is None


def test_composed_flow_is_the_sum_of_constant_steps_and_follows_the_ground():
    steps = [np.full((*SIZE, 2), np.array(v, np.float32)) for v in ((2, 1), (-1, 3))]
    np.testing.assert_allclose(compose(steps), np.full((*SIZE, 2), (1, 4)), atol=1e-5)
    x = np.mgrid[: SIZE[0], : SIZE[1]][1].astype(np.float32)
    grows = np.stack((0.1 * x, 0 * x), -1)
    twice = compose([grows, grows])
    np.testing.assert_allclose(twice[:, :150, 0], 0.21 * x[:, :150], atol=0.02)


def test_expected_error_is_the_trace_of_the_covariance_and_grows_where_flow_is_lost():
    first, second = shifted(5)
    flow = pair_flows(first, second)
    flow[:, 0, 40:80, 60:120] += 4
    tensors = torch.stack(
        [
            structure_tensor(torch.from_numpy(picture(i).grey)[None].float())
            for i in (first, second)
        ],
        1,
    )
    match = dense_match(flow, tensors)
    trace = match.covariance[..., 0] + match.covariance[..., 2]
    torch.testing.assert_close(match.expected_px.square(), trace)
    spoilt = match.expected_px[0, 0, 48:72, 68:112]
    rest = match.expected_px[0, 0, :, 130:180]
    assert spoilt.median() > 3
    assert rest.median() < 0.5
    assert not match.consistent[0, 0, 48:72, 68:112].any()


def test_expected_error_follows_the_noise_of_flow():
    """Errors a 32nd as large are expected to be a 32nd as large, and the surest quarter has the least.

    The factor of four is no law: the model is fitted on measured flow, whose errors there and back are alike and hide
    from the check. Errors that are independent show in full, as here. It stands here so that nobody shifts it unseen.
    """
    first, second = shifted(5)
    exact = Matcher(1).flows(first, second)
    noise = torch.randn(1, 2, 2, 16, 24, generator=torch.Generator().manual_seed(1))
    smooth = F.interpolate(noise.flatten(0, 1), SIZE, mode="bilinear").unflatten(0, (1, 2))
    grey = [torch.from_numpy(picture(i).grey)[None].float() for i in (first, second)]
    tensors = torch.stack([structure_tensor(g) for g in grey], 1)
    inner = (0, slice(12, -12), slice(24, -24))
    for size in (0.1, 0.8, 3.2):
        flow = exact + size * smooth.permute(0, 1, 3, 4, 2)
        expected = dense_match(flow, tensors).expected_px[:, 0][inner].flatten()
        error = (flow[:, 0] - torch.tensor((-5.0, 0.0))).norm(dim=-1)[inner].flatten()
        assert 3.7 < expected.mean() / error.mean() < 4.4
        surest, rest = error[expected.argsort()].split(
            (len(error) // 4, len(error) - len(error) // 4)
        )
        assert rest.mean() > 1.2 * surest.mean()


def clip_of_shifts(count: int) -> tuple[Frames, torch.Tensor]:
    wide = wide_texture()
    images = torch.stack([wide[:, :, 4 * t : 4 * t + SIZE[1]] for t in range(count)])
    arrays = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return Frames(arrays), images


def test_a_pair_of_a_clip_equals_the_pair_alone_between_neighbours():
    frames, images = clip_of_shifts(3)
    matcher = Matcher(2)
    alone = matcher.flows(images[:1], images[1:2])
    matcher.begin(frames)
    torch.testing.assert_close(
        matcher.flows(images[:1], images[1:2], torch.tensor([[0, 1]])), alone
    )
    both = matcher.flows(images[[0, 0]], images[[1, 2]], torch.tensor([[0, 1], [0, 2]]))
    torch.testing.assert_close(both[:1], alone)
    assert (both[1, 0, 16:-16, 24:-24] - torch.tensor((-8.0, 0.0))).norm(dim=-1).mean() < 0.2


WHOLE = Area(0, 0, SIZE[1], SIZE[0])
WHOLE_BIG = Area(0, 0, 2 * SIZE[1], 2 * SIZE[0])


def written(folder, name, flow):
    write_flo(folder / f"{name}.flo", FlowField(flow, np.ones(flow.shape[:2], bool)))


def test_given_flow_is_used_at_the_working_size(tmp_path):
    """Files at twice the size, Middlebury, KITTI and npz; unknown pixels are filled from their surroundings."""
    frames, images = clip_of_shifts(3)
    big = np.full((2 * SIZE[0], 2 * SIZE[1], 2), np.array((6, -2), np.float32))
    known = np.ones(big.shape[:2], bool)
    known[40:80, 60:100] = False
    write_flo(tmp_path / "fwd_000010_000011.flo", FlowField(big, known))
    write_kitti_flow(tmp_path / "bwd_000011_000010.png", FlowField(-big, known))
    np.savez(tmp_path / "fwd_000011_000012.npz", flow=big)
    written(tmp_path, "bwd_000012_000011", -big)
    matcher = Matcher(1)
    matcher.begin(frames)
    matcher.given = UserFlow(tmp_path, (10, 11, 12), big.shape[:2], WHOLE_BIG)
    matcher.given.check()
    flow = matcher.flows(images[:2], images[1:], torch.tensor([[0, 1], [1, 2]]))
    expected = torch.tensor([[3.0, -1.0], [-3.0, 1.0]])[None, :, None, None].expand_as(flow)
    torch.testing.assert_close(flow, expected, atol=1e-3, rtol=0)


def test_given_flow_of_a_source_with_bars_is_cut_to_the_picture(tmp_path):
    """The source's picture is twice the working size and has bars of 10 and 20 pixels, whose flow is another."""
    flow = np.full((2 * SIZE[0] + 20, 2 * SIZE[1] + 40, 2), 50, np.float32)
    area = Area(20, 10, 2 * SIZE[1], 2 * SIZE[0])
    flow[10:-10, 20:-20] = (6, -2)
    for name in ("fwd_000000_000001", "bwd_000001_000000"):
        written(tmp_path, name, flow)
    found = UserFlow(tmp_path, (0, 1), flow.shape[:2], area).read(0, 1, SIZE)
    assert found is not None
    np.testing.assert_allclose(found[0], np.broadcast_to((3, -1), (*SIZE, 2)), atol=1e-4)


def test_planned_pairs_are_measured_ahead_and_the_same():
    frames, images = clip_of_shifts(4)
    rows = torch.tensor([[0, 1], [1, 2], [0, 2], [2, 3]])
    matcher = Matcher(1)
    matcher.begin(frames)
    plain = matcher.flows(images[rows[:, 0]], images[rows[:, 1]], rows)
    matcher.begin(frames)
    matcher.plan(rows.tolist())
    for row, expected in zip(rows, plain, strict=True):
        found = matcher.flows(images[row[:1]], images[row[1:]], row[None])
        torch.testing.assert_close(found[0], expected, rtol=0, atol=0)


def test_given_flow_that_is_missing_or_wrong_is_one_line(tmp_path):
    flow = np.zeros((*SIZE, 2), np.float32)
    with pytest.raises(InputError, match="no such folder"):
        UserFlow(tmp_path / "none", (0, 1), SIZE, WHOLE).check()
    written(tmp_path, "fwd_000000_000001", flow)
    with pytest.raises(InputError, match="bwd_000001_000000"):
        UserFlow(tmp_path, (0, 1), SIZE, WHOLE).check()
    written(tmp_path, "bwd_000001_000000", flow[:64])
    given = UserFlow(tmp_path, (0, 1), SIZE, WHOLE)
    given.check()
    with pytest.raises(InputError, match="192x64, the video 192x128"):
        given.read(0, 1, SIZE)
    np.savez(tmp_path / "bwd_000001_000000.npz", flow=flow + np.nan)
    (tmp_path / "bwd_000001_000000.flo").unlink()
    with pytest.raises(InputError, match="not finite"):
        given.read(0, 1, SIZE)
    (tmp_path / "bwd_000001_000000.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError, match="cannot be read"):
        given.read(0, 1, SIZE)
