"""Progress is reported to whoever asked in the thread that works, to nobody else, and changes nothing."""

import threading
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest

from wordsight._utils.progress import Progress, report_progress, subtask, subtasks, track
from wordsight.redundancy.experiments import measure_tokens


@pytest.fixture
def reports():
    return []


def overall(reports):
    return [progress.overall for progress in reports]


def test_parts_of_parts_are_reported_as_shares_of_all(reports):
    with report_progress(reports.append):
        for _ in subtasks("ab", 2):
            for _ in subtasks("cd", 2):
                pass
    assert overall(reports) == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 0.75, 1, 1]


def test_what_an_item_takes_to_be_made_is_part_of_it(reports):
    """A lazy map does its work when it is asked for the next item."""

    def make(number):
        with subtask(0, 2):
            return number

    with report_progress(reports.append):
        assert list(subtasks(map(make, range(2)), 2)) == [0, 1]
    assert overall(reports) == [0, 0, 0.25, 0.5, 0.5, 0.5, 0.75, 1]


@pytest.mark.parametrize("total", [0, 2, 3, 9])
def test_a_wrong_total_loses_no_item(total, reports):
    assert list(subtasks(iter("abc"), total)) == list("abc")
    with report_progress(reports.append):
        assert list(subtasks(iter("abc"), total)) == list("abc")


def test_work_with_a_description_is_reported_with_it(reports):
    with report_progress(reports.append):
        assert list(track("ab", "spelling", 2)) == list("ab")
    assert reports == [Progress("spelling", share, share) for share in (0, 0, 0.5, 0.5, 1, 1)]


def test_what_is_done_of_a_described_part_is_a_share_of_that_part(reports):
    with report_progress(reports.append):
        with subtask(0, 4, "reading"):
            list(subtasks("ab", 2))
        with subtask(3, 4, "writing"), subtask(1, 2):
            pass
    assert reports == [
        *(Progress("reading", share, share / 4) for share in (0, 0, 0.5, 0.5, 1, 1)),
        *(Progress("writing", share, 0.75 + share / 4) for share in (0, 0.5, 1, 1)),
    ]


def test_the_innermost_description_holds_until_its_part_ends(reports):
    with report_progress(reports.append), subtask(0, 1, "outer"):
        with subtask(0, 2, "inner"), subtask(0, 2):
            pass
        with subtask(1, 2):
            pass
    assert [(each.description, each.done) for each in reports] == [
        ("outer", 0),
        ("inner", 0),
        ("inner", 0),
        ("inner", 0.5),
        ("inner", 1),
        ("outer", 0.5),
        ("outer", 1),
        ("outer", 1),
    ]


def test_without_a_callback_the_items_are_the_same():
    assert list(subtasks("abc", 3)) == list("abc")
    assert list(track("abc", "spelling", 3)) == list("abc")


def test_nothing_is_reported_after_the_block(reports):
    with report_progress(reports.append):
        pass
    list(track("abc", "spelling", 3))
    assert reports == []


def test_a_block_within_a_block_has_the_reports_to_itself(reports):
    inner = []
    with report_progress(reports.append):
        with report_progress(inner.append):
            list(subtasks("a", 1))
        list(subtasks("ab", 2))
    assert overall(inner) == [0, 1]
    assert overall(reports) == [0, 0.5, 0.5, 1]


def test_the_work_of_another_thread_is_not_reported(reports):
    with report_progress(reports.append):
        thread = threading.Thread(target=lambda: list(subtasks("abc", 3)))
        thread.start()
        thread.join()
    assert reports == []


def test_work_that_failed_leaves_nothing_to_the_next(reports):
    """The generator of the failed work is closed late, while others work: it must not report for them."""
    left = []
    with suppress(ZeroDivisionError), report_progress(lambda progress: None):
        left.append(subtasks("abcd", 4))
        next(left[0])
        raise ZeroDivisionError
    with report_progress(reports.append), subtask(1, 2):
        left.clear()
        list(subtasks("ab", 2))
    assert overall(reports) == [0.5, 0.5, 0.75, 0.75, 1, 1]


def test_a_part_that_failed_does_not_count_as_done(reports):
    with report_progress(reports.append):
        with suppress(ZeroDivisionError), subtask(0, 2, "dividing"):
            raise ZeroDivisionError
        with subtask(1, 2):
            pass
    assert reports == [Progress("dividing", 0, 0), Progress("", 0.5, 0.5), Progress("", 1, 1)]


def test_what_the_callback_raises_ends_the_work():
    done = []

    def stop_half_way(progress):
        if progress.overall >= 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError), report_progress(stop_half_way):
        done.extend(track("abcd", "spelling", 4))
    assert done == ["a", "b"]


def test_nothing_is_printed(reports, capsys):
    with report_progress(reports.append):
        list(track("abc", "spelling", 3))
    list(track("abc", "spelling", 3))
    assert capsys.readouterr() == ("", "")


def test_every_pass_of_the_model_is_a_part(tiny, prompt, reports):
    with report_progress(reports.append):
        replace(tiny, pass_tokens=1).logits([prompt] * 4)
    assert sorted(set(overall(reports))) == [0, 0.25, 0.5, 0.75, 1]


def test_measuring_a_picture_is_reported_often_and_never_goes_back_far(tiny, picture, reports):
    """Every probe, the neighborhoods, and the picture without them are a fifth each."""
    with report_progress(reports.append):
        measure_tokens(tiny, picture)
    shares = overall(reports)
    assert shares[0] == 0
    assert shares[-1] == pytest.approx(1)
    steps = sorted(set(shares))
    assert max(after - before for before, after in pairwise(steps)) <= 1 / 5 + 1e-9
    assert all(any(abs(share - fifth) < 1e-9 for share in shares) for fifth in (0.2, 0.4, 0.6, 0.8))
