import cv2
import numpy as np
from pictures import Frames

from dpm_cli.passes.shots import detect_shots


def textured(seed, tint):
    rng = np.random.default_rng(seed)
    noise = cv2.resize(rng.random((24, 32, 3)), (400, 300), interpolation=cv2.INTER_CUBIC)
    return np.clip((0.3 * noise + 0.7 * np.array(tint)) * 255, 0, 255).astype(np.uint8)


def pan(seed, tint, count):
    wide = textured(seed, tint)
    return [wide[40:160, 4 * k : 4 * k + 160] for k in range(count)]


RED, BLUE = (0.8, 0.2, 0.1), (0.1, 0.3, 0.9)


def test_a_cut_between_two_pans_is_found_where_it_is():
    frames = Frames(pan(1, RED, 5) + pan(2, BLUE, 4))
    assert detect_shots(frames).tolist() == [0] * 5 + [1] * 4


def test_motion_flash_and_duplicates_are_not_cuts():
    images = pan(3, RED, 4)
    flash = [np.clip(images[3].astype(int) + 70, 0, 255).astype(np.uint8)]
    assert detect_shots(Frames(images + flash + [images[3]] * 2)).tolist() == [0] * 7


def test_one_frame_and_none():
    assert detect_shots(Frames(pan(4, RED, 1))).tolist() == [0]
    assert detect_shots(Frames([])).tolist() == []
