"""Memory that ends: less at a time, then the CPU, then one line; and budgets that the user sets."""

from itertools import pairwise

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from oracle import OraclePredictor
from video_files import Notes

from dpm_cli.config import ReconstructSettings, parse_memory
from dpm_cli.devices import is_out_of_memory, used_memory_bytes
from dpm_cli.errors import InterruptedRunError, MemoryExhaustedError, UsageError
from dpm_cli.files import reads
from dpm_cli.matching.matcher import MatchingRoom
from dpm_cli.passes.engine import FeatureCache
from dpm_cli.pipeline import aligned_clip, memory, pass_work, reconstruct
from dpm_cli.pipeline.memory import Task, over_budget, plan_memory
from dpm_cli.predictors import LOADERS
from dpm_cli.sequence import read_manifest
from dpm_cli.workshop.synthetic import render_clip, scene_seed

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SIZE = (32, 48)
SETTINGS = ReconstructSettings(model="oracle", device="cpu", batch_size=4, formats=(), prior="none")


@pytest.fixture(scope="module")
def truth():
    return render_clip(scene_seed("test", 1), 4, SIZE, camera="orbit")


@pytest.fixture(scope="module")
def photos(truth, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for t, image in enumerate(truth.images[0].permute(0, 2, 3, 1).numpy()):
        iio.imwrite(folder / f"{t:03d}.png", image)
    return folder


class Cramped(OraclePredictor):
    """An oracle on a device that has room for `most` pairs."""

    def __init__(self, truth, most: int):
        super().__init__(truth)
        self.most, self.asked = most, 0

    def predict(self, features_1, features_2):
        count = len(next(iter(features_1.values())))
        self.asked += 1
        if count > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return super().predict(features_1, features_2)


@pytest.fixture
def gpu(truth, monkeypatch):
    """A GPU that is none: what is told to be on it is on the CPU."""
    on = {"cuda": Cramped(truth, 0), "cpu": Cramped(truth, 99)}
    monkeypatch.setitem(LOADERS, "oracle", lambda weights, device, dtype: on[device.type])
    monkeypatch.setattr("dpm_cli.pipeline.machine.pick_device", lambda name: torch.device(name))
    monkeypatch.setattr("dpm_cli.pipeline.machine.pick_dtype", lambda name, device: torch.float32)
    monkeypatch.setattr(memory, "free_memory_bytes", lambda device: 2**33)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    real = pass_work.run_passes
    there = lambda *args, **more: real(*args, **{**more, "device": CPU})
    monkeypatch.setattr(pass_work, "run_passes", there)
    return on


def arrays(run):
    return {
        path.name: {k: v.tobytes() for k, v in np.load(path).items()}
        for path in [*run.glob("frames/*.npz"), run / "cameras.npz"]
    }


def test_where_a_gpu_has_no_room_for_one_pair_the_cpu_goes_on(photos, gpu, tmp_path):
    settings = ReconstructSettings(**{**vars(SETTINGS), "device": "cuda"})
    heard = Notes()
    reconstruct(str(photos), tmp_path / "a", settings, reporter=heard)
    said = "out of memory on cuda, even for one pair: the rest was done on the CPU"
    assert [n for n in heard.lines if "out of memory:" in n] == [
        f"out of memory: going on with {n} pairs at a time" for n in (2, 1)
    ]
    assert said in heard.lines
    manifest = read_manifest(tmp_path / "a")
    assert manifest is not None
    assert said in manifest["notes"]
    assert (manifest["device"], manifest["out_of_memory"]) == ("cpu", "cuda")
    reconstruct(str(photos), tmp_path / "b", SETTINGS)
    assert arrays(tmp_path / "a") == arrays(tmp_path / "b")


def test_a_run_that_went_to_the_cpu_stays_there_when_it_goes_on(photos, gpu, tmp_path, monkeypatch):
    settings = ReconstructSettings(**{**vars(SETTINGS), "device": "cuda"})

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(aligned_clip, "align_run", stop)
        with pytest.raises(InterruptedRunError):
            reconstruct(str(photos), tmp_path / "run", settings)
    asked = gpu["cuda"].asked
    reconstruct(str(photos), tmp_path / "run", settings)
    assert gpu["cuda"].asked == asked > 0


def test_at_the_end_of_the_road_one_line_says_what_helps(photos, gpu, tmp_path, monkeypatch):
    gpu["cpu"].most = 0
    with pytest.raises(MemoryExhaustedError, match="single pair: use a smaller --size") as error:
        reconstruct(str(photos), tmp_path / "a", SETTINGS)
    assert error.value.exit_code == 5
    gpu["cpu"].most = 99

    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(aligned_clip, "align_run", full)
    with pytest.raises(MemoryExhaustedError, match="out of memory: use a smaller --size, fewer"):
        reconstruct(str(photos), tmp_path / "b", SETTINGS)


def test_a_smaller_budget_gives_the_same_bytes_and_says_what_was_chosen(photos, gpu, tmp_path):
    tight = used_memory_bytes() + 250 * 2**20
    heard = Notes()
    for name, most in (("free", None), ("tight", tight)):
        settings = ReconstructSettings(**{**vars(SETTINGS), "max_memory": most})
        reconstruct(str(photos), tmp_path / name, settings, reporter=heard)
    assert arrays(tmp_path / "free") == arrays(tmp_path / "tight")
    (said,) = [line for line in heard.lines if line.startswith("memory: about")]
    assert f" of {-(-tight // 2**20)}M (pairs at a time: 4," in said


def task(size, **more) -> Task:
    return Task(
        **{"size": size, "source_size": size, "grid_points": 10**6, "matches": True, **more}
    )


def test_plans_shrink_with_the_budget_and_say_what_is_too_little(monkeypatch):
    monkeypatch.setattr(memory, "free_memory_bytes", lambda device: 2**36)
    monkeypatch.setattr(memory, "used_memory_bytes", lambda: 2**29)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    info, whole = OraclePredictor.info, task((1080, 1920))
    budgets = [None, *(n * 2**30 for n in (24, 16, 12, 8, 7))]
    plans = [plan_memory(most, CPU, info, whole) for most in budgets]
    for before, after in pairwise(plans):
        for name in ("batch_size", "workers", "total_bytes"):
            assert getattr(before, name) >= getattr(after, name), name
        assert before.matching.threads >= after.matching.threads
    for plan, most in zip(plans[1:], budgets[1:], strict=True):
        assert plan.total_bytes <= most
    first, last = plans[0], plans[-1]
    assert (first.batch_size, first.matching, first.workers) == (4, MatchingRoom(8, 16, 64), 4)
    assert (last.batch_size, last.matching) == (1, MatchingRoom(1, 2, 8))
    assert [p.short for p in (first, last)] == [False, True]
    with pytest.raises(MemoryExhaustedError, match=r"--max-memory 512M: at 1920x1080 .* or more"):
        plan_memory(2**29, CPU, info, whole)
    assert plan_memory(None, GPU, info, whole).batch_size == 8
    assert plan_memory(16 * 2**30, GPU, info, whole).batch_size == 2
    settled = task((1080, 1920), batch_size=3)
    assert plan_memory(16 * 2**30, GPU, info, settled).batch_size == 3


def test_a_budget_that_was_not_kept_is_said():
    assert over_budget(None, 2**40) is None
    assert over_budget(2**30, 2**30) is None
    said = over_budget(2**30, 2**30 + 1)
    assert said == "--max-memory 1024M was not kept: this process has taken 1025M"


def test_windows_follow_the_memory_that_is_free(monkeypatch):
    monkeypatch.setattr(memory, "used_memory_bytes", lambda: 2**29)
    info, size = OraclePredictor.info, (294, 518)
    found = []
    for free in (2**36, 2**33, 2**32, 2**20):
        monkeypatch.setattr(memory, "free_memory_bytes", lambda device, free=free: free)
        found.append(plan_memory(None, GPU, info, task(size, window=24)).window)
    assert found[0] == 24
    assert found == sorted(found, reverse=True)
    assert found[-1] == 2
    assert plan_memory(None, GPU, info, task(size, window=9, window_settled=True)).window == 9


def test_the_least_plan_of_a_long_clip_has_its_alignment(monkeypatch):
    monkeypatch.setattr(memory, "free_memory_bytes", lambda device: 2**36)
    monkeypatch.setattr(memory, "used_memory_bytes", lambda: 2**29)
    totals = [
        plan_memory(None, CPU, OraclePredictor.info, task((96, 160), grid_points=n)).total_bytes
        for n in (10**5, 10**8)
    ]
    assert totals[1] > totals[0] + 2**30


def test_features_are_dropped_when_they_are_too_many_bytes(truth):
    class Reader:
        def read(self, indices):
            return np.zeros((len(indices), 4, 6, 3), np.uint8)

    class Counting:
        encoded = 0

        def encode(self, images):
            Counting.encoded += len(images)
            return {"f": torch.zeros(len(images), 100)}

    cache = FeatureCache(Counting(), Reader(), CPU, capacity=9, most_bytes=900)  # pyright: ignore
    for index in (0, 1, 2, 0, 1, 2):
        cache.gather([index], 1)
    assert Counting.encoded == 6
    cache.gather([1, 2], 1)
    assert Counting.encoded == 6, "two of four hundred bytes are kept"


@pytest.mark.parametrize(
    ("text", "most"),
    [("auto", None), ("4G", 2**32), ("800 m", 800 * 2**20), ("1.5GiB", 3 * 2**29), ("4096", 4096)],
)
def test_budgets_are_read(text, most):
    assert parse_memory(text) == most


@pytest.mark.parametrize("text", ["", "0", "-1G", "much", "4X", "0.1", "inf"])
def test_budgets_that_are_none_are_refused(text):
    with pytest.raises(UsageError, match="--max-memory"):
        parse_memory(text)


def test_a_budget_is_no_other_run():
    assert SETTINGS.digest() == ReconstructSettings(**{**vars(SETTINGS), "max_memory": 1}).digest()


def test_memory_that_ends_in_a_reader_is_not_called_damage(tmp_path):
    @reads("a thing")
    def read(path):
        raise MemoryError

    with pytest.raises(MemoryExhaustedError, match=r"a\.png needs more memory than there is"):
        read(tmp_path / "a.png")


def test_what_libraries_say_when_memory_ends_is_known():
    for text in ("CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling", "can't allocate"):
        assert is_out_of_memory(RuntimeError(text))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shape"))
