"""What is drawn ahead is what would be drawn at the step."""

import multiprocessing
import os

import pytest
import torch

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")  # it draws on one thread


def test_it_draws_in_another_process_from_the_step_that_is_asked_first(training):
    ahead = training.ahead.Ahead(lambda step: (os.getpid(), torch.full((300, 300), step)), 6)
    drawn = [ahead(step) for step in range(2, 6)]
    assert [int(tensor[0, 0]) for _, tensor in drawn] == [2, 3, 4, 5]
    assert os.getpid() not in {process for process, _ in drawn}


def test_a_failure_to_draw_is_told(training):
    ahead = training.ahead.Ahead(lambda step: 1 // step, 2)
    with pytest.raises(EOFError):
        ahead(0)


def test_it_ends_with_the_process_that_learns(training):
    ahead = training.ahead.Ahead(lambda step: torch.zeros(300, 300), 100)
    ahead(0)
    (drawing,) = multiprocessing.active_children()
    ahead._drawn.close()
    drawing.join(10)
    assert drawing.exitcode == 0
