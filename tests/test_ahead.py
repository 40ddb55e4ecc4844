"""Frames worked on ahead: in order, not too far, and what goes wrong is said."""

import threading

import pytest

from dpm_cli.ahead import in_order


def test_results_come_in_order_whoever_is_done_first():
    late = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            late.wait(0.05)
        return number * number

    assert list(in_order(work, range(20), 4)) == [n * n for n in range(20)]


def test_nothing_is_begun_far_ahead_of_what_is_taken():
    begun = []
    results = in_order(lambda n: begun.append(n), range(100), 4)
    for taken in range(1, 10):
        next(results)
        assert len(begun) <= taken + 5
    results.close()
    assert len(begun) < 20


def test_an_error_comes_where_its_result_would():
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    results = in_order(work, range(10), 4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
