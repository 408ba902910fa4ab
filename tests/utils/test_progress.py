"""Progress is told to whoever listens in the thread that works, to nobody else, and changes nothing."""

import threading
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest

from wordsight._utils.progress import reporting, subtask, subtasks, track
from wordsight.redundancy.evidence import measure_tokens


def test_parts_of_parts_are_told_as_shares_of_all():
    shares = []
    with reporting(shares.append):
        for _ in subtasks("ab", 2):
            for _ in subtasks("cd", 2):
                pass
    assert shares == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 0.75, 1, 1]


def test_what_an_item_takes_to_be_made_is_part_of_it():
    """A lazy map does its work when it is asked for the next item."""
    shares = []

    def make(number):
        with subtask(0, 2):
            return number

    with reporting(shares.append):
        assert list(subtasks(map(make, range(2)), 2)) == [0, 1]
    assert shares == [0, 0, 0.25, 0.5, 0.5, 0.5, 0.75, 1]


@pytest.mark.parametrize("total", [0, 2, 3, 9])
def test_a_wrong_total_loses_no_item(total):
    assert list(subtasks(iter("abc"), total)) == list("abc")


def test_work_with_a_bar_is_told_too():
    shares = []
    with reporting(shares.append):
        assert list(track("abcd", "spelling", 4)) == list("abcd")
    assert sorted(set(shares)) == [0, 0.25, 0.5, 0.75, 1]


def test_without_a_listener_the_items_are_the_same():
    assert list(subtasks("abc", 3)) == list("abc")


def test_nothing_is_told_after_the_block():
    shares = []
    with reporting(shares.append):
        pass
    list(subtasks("abc", 3))
    assert shares == []


def test_another_thread_is_not_heard():
    shares = []
    with reporting(shares.append):
        thread = threading.Thread(target=lambda: list(subtasks("abc", 3)))
        thread.start()
        thread.join()
    assert shares == []


def test_work_that_failed_leaves_nothing_to_the_next():
    """The generator of the failed work is closed late, while others work: it must not speak for them."""
    left, shares = [], []
    with suppress(ZeroDivisionError), reporting(lambda share: None):
        left.append(subtasks("abcd", 4))
        next(left[0])
        raise ZeroDivisionError
    with reporting(shares.append), subtask(1, 2):
        left.clear()
        list(subtasks("ab", 2))
    assert shares == [0.5, 0.5, 0.75, 0.75, 1, 1]


def test_a_listener_can_end_the_work():
    def stop(share):
        raise InterruptedError

    with pytest.raises(InterruptedError), reporting(stop):
        list(subtasks("abc", 3))


def test_every_pass_of_the_model_is_a_part(tiny, prompt):
    shares = []
    with reporting(shares.append):
        replace(tiny, pass_tokens=1).logits([prompt] * 4)
    assert sorted(set(shares)) == [0, 0.25, 0.5, 0.75, 1]


def test_examining_a_picture_is_told_often_and_never_goes_back_far(tiny, picture):
    """The readings, the neighborhoods and the picture without them are a third each."""
    shares = []
    with reporting(shares.append):
        measure_tokens(tiny, picture)
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(1)
    steps = sorted(set(shares))
    assert max(after - before for before, after in pairwise(steps)) <= 1 / 6 + 1e-9
    assert all(any(abs(share - third) < 1e-9 for share in shares) for third in (1 / 3, 2 / 3))
