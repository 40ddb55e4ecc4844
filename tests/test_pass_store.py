import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dpm_cli.checked_array import load_array, load_arrays, save_checked
from dpm_cli.passes.store import DensePass, PassStore


def dense(seed, neighbours):
    rng = np.random.default_rng(seed)
    shape = (2, 5, 7)
    return DensePass(
        log_depth=rng.normal(1, 0.7, shape).astype(np.float32),
        confidence=rng.uniform(1, 50, shape).astype(np.float32),
        valid=rng.random(shape) > 0.3,
        motion=rng.random(shape).astype(np.float32),
        flow=rng.normal(size=(*shape, 2)).astype(np.float32),
        flow_visible=rng.random(shape) > 0.5,
        scene_flow=rng.normal(size=(*shape, 3)).astype(np.float32) if neighbours else None,
    )


def test_dense_maps_come_back(tmp_path):
    store = PassStore(tmp_path / "passes")
    for number, neighbours in enumerate((True, False)):
        given = dense(number, neighbours)
        store.write_dense(number, given)
        flow = store.read_flow(number)
        span = np.ptp(given.log_depth, axis=(1, 2)).max()
        for v in (0, 1):
            got = store.read_view(number, v)
            np.testing.assert_allclose(got.log_depth, given.log_depth[v], atol=span / 65535)
            np.testing.assert_allclose(got.confidence, given.confidence[v], rtol=1e-3)
            np.testing.assert_array_equal(got.valid, given.valid[v])
            np.testing.assert_allclose(got.motion, given.motion[v], atol=1e-3)
            if given.scene_flow is not None:
                step = store.read_step(number, v)
                np.testing.assert_array_equal(step.flow, given.flow[v])
                np.testing.assert_array_equal(step.back, given.flow[1 - v])
                np.testing.assert_array_equal(step.visible, given.flow_visible[v])
                np.testing.assert_array_equal(step.scene_flow, given.scene_flow[v])
                np.testing.assert_array_equal(step.log_depth, got.log_depth)
        np.testing.assert_allclose(flow, given.flow, rtol=0 if neighbours else 1e-3)
        assert flow.dtype == np.float32


def test_a_constant_depth_does_not_divide_by_zero(tmp_path):
    flat = dense(3, False)
    flat.log_depth[:] = 2.5
    store = PassStore(tmp_path)
    store.write_dense(0, flat)
    np.testing.assert_allclose(store.read_view(0, 1).log_depth, 2.5)


def test_chunks_join_in_order_and_say_what_is_done(tmp_path):
    store = PassStore(tmp_path)
    store.write_chunk(4, 6, {"focal": np.array([4.0, 5.0])})
    store.write_chunk(0, 4, {"focal": np.arange(4.0)})
    (tmp_path / ".chunk_000006.ab.tmp.npz").write_bytes(b"half")
    assert store.done() == [(0, 4), (4, 6)]
    np.testing.assert_array_equal(store.read_chunks()["focal"], np.arange(6.0))


def test_headers_are_parsed_by_one_thread_at_a_time(tmp_path, monkeypatch):
    """Python's own parser, which numpy asks, fails now and then where two threads are in it (before 3.11.8)."""
    save_checked(tmp_path / "a.npy", np.arange(6.0).reshape(2, 3))
    np.savez(tmp_path / "b.npz", c=np.arange(3))
    plain, inside, together = np.lib.format.read_magic, [], []

    def slow(file):
        together.append(len(inside))
        inside.append(file)
        time.sleep(0.002)
        inside.pop()
        return plain(file)

    monkeypatch.setattr(np.lib.format, "read_magic", slow)
    with ThreadPoolExecutor(4) as pool:
        arrays = list(pool.map(lambda _: load_array(tmp_path / "a.npy"), range(12)))
        named = list(pool.map(lambda _: load_arrays(tmp_path / "b.npz")["c"], range(6)))
    assert all(np.array_equal(a, np.arange(6.0).reshape(2, 3)) for a in arrays)
    assert all(np.array_equal(c, np.arange(3)) for c in named)
    assert len(together) >= 12
    assert set(together) == {0}
