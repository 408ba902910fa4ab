"""One thread does jobs in their order; the queue is bounded, the past is short, failures are sentences."""

import gc
import threading
import time
import weakref
from contextlib import suppress

import pytest

from wordsight._utils.progress import subtask, subtasks
from wordsight.errors import UsageError
from wordsight.viewer.jobs import KEPT, WAITING, Busy, Forgotten, Job, JobQueue


class Gate:
    """Work that says when it has begun, and goes on when it may."""

    def __init__(self):
        self.begun, self.may_go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.done = []

    def __call__(self, request):
        with subtask(0, 2, f"at {request}"):
            self.begun.release()
            self.may_go_on.acquire()
        self.done.append(request)
        return request


def over(job):
    while not job.is_over:
        time.sleep(0.001)
    return job


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def queue(gate):
    with JobQueue(gate) as queue:
        yield queue
        for _ in range(1 + WAITING):
            gate.may_go_on.release()


def test_jobs_are_done_in_the_order_in_which_they_came(queue, gate):
    jobs = [queue.submit(letter) for letter in "abc"]
    assert [queue.ahead(job) for job in jobs] == [0, 1, 2]
    gate.begun.acquire()
    assert [job.state for job in jobs] == ["working", "waiting", "waiting"]
    assert jobs[0].says == "at a"
    for _ in jobs:
        gate.may_go_on.release()
    assert [over(job).result for job in jobs] == ["a", "b", "c"]
    assert gate.done == ["a", "b", "c"]
    assert queue.ahead() == 0


def test_the_queue_is_bounded_and_opens_again(queue, gate):
    jobs = [queue.submit(number) for number in range(1 + WAITING)]
    with pytest.raises(Busy, match=f"is being answered and {WAITING} are waiting; try again"):
        queue.submit("one too many")
    with pytest.raises(Busy):
        queue.check()
    gate.may_go_on.release()
    over(jobs[0])
    queue.check()
    queue.submit("there is room")


def test_two_at_once_do_not_get_the_last_place(queue):
    """Many threads ask at the same moment: as many as there are places get one."""
    together, taken = threading.Barrier(16), []

    def ask():
        together.wait()
        with suppress(Busy):
            taken.append(queue.submit("this"))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 1 + WAITING


def test_the_oldest_jobs_that_are_over_are_forgotten():
    with JobQueue(lambda request: request) as queue:
        jobs = [over(queue.submit(number)) for number in range(KEPT + 3)]
        for old in jobs[:3]:
            with pytest.raises(Forgotten, match=f"only the last {KEPT} are kept"):
                queue.job(old.id)
        assert [queue.job(job.id) for job in jobs[3:]] == jobs[3:]


def test_a_job_that_waits_is_never_forgotten(queue):
    first = queue.submit("first")
    for _ in range(WAITING):
        queue.submit("more")
    assert queue.job(first.id) is first


def test_an_id_that_was_never_given_is_reported():
    with pytest.raises(Forgotten, match="no such question"):
        JobQueue(print).job("../../etc/passwd")


def test_ids_cannot_be_guessed():
    ids = {Job(None).id for _ in range(100)}
    assert len(ids) == 100
    assert min(map(len, ids)) >= 16


def failing(request):
    if request is None:
        return "done"
    raise request


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UsageError("the picture has no pixels"), "the picture has no pixels"),
        (
            ZeroDivisionError("secret/path"),
            "internal error (ZeroDivisionError); see the terminal that the server runs in",
        ),
    ],
)
def test_a_failure_is_reported_and_the_next_job_is_done(caplog, error, sentence):
    with JobQueue(failing) as queue:
        failed, next_one = queue.submit(error), queue.submit(None)
        assert (over(failed).state, failed.says) == ("failed", sentence)
        assert over(next_one).result == "done"
    assert ("secret/path" in caplog.text) == isinstance(error, ZeroDivisionError)


def test_progress_is_of_all_the_work_and_never_goes_back():
    submitted, shares, says = threading.Event(), [], []

    def work_in_parts(request):
        submitted.wait()
        for part in range(2):
            with subtask(part, 3, f"part {part}"):
                for _ in subtasks("ab", 2):
                    shares.append(job.share)
                    says.append(job.says)
        with subtask(0, 3, "part 0 again"):
            shares.append(job.share)
            says.append(job.says)

    with JobQueue(work_in_parts) as queue:
        job = queue.submit("this")
        submitted.set()
        over(job)
    assert shares == pytest.approx([0, 1 / 6, 1 / 3, 1 / 2, 2 / 3])
    assert says == ["part 0", "part 0", "part 1", "part 1", "part 0 again"]
    assert job.share is None


def test_the_pictures_of_a_job_are_let_go():
    class Large:
        pass

    large = Large()
    kept = weakref.ref(large)
    with JobQueue(lambda request: 1) as queue:
        job = queue.submit(large)
        del large
        over(job)
        queue.submit(None)
        while queue.ahead():
            time.sleep(0.001)
        gc.collect()
        assert kept() is None
        assert queue.job(job.id).result == 1


def test_the_end_stops_the_job_at_work_and_does_not_begin_another():
    begun = threading.Event()

    def endless(request):
        for _ in subtasks(iter(int, 1), 10**9):
            begun.set()

    with JobQueue(endless) as queue:
        jobs = [queue.submit(1), queue.submit(2)]
        begun.wait()
    assert [job.state for job in jobs] == ["failed", "waiting"]
    assert jobs[0].says == "the server was stopped"
