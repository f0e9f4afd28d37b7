"""Oracle: the same work done in the foreground."""

import threading

import pytest

from lexiscope.harvest.background import Behind, one_ahead


def test_items_come_in_order_and_only_one_is_made_ahead():
    made = []

    def items():
        for number in range(6):
            made.append(number)
            yield number

    ahead = one_ahead(items())
    assert [next(ahead), next(ahead)] == [0, 1]
    ahead.close()  # waits for the one being made
    assert made == [0, 1, 2]
    assert list(one_ahead(iter([]))) == []
    assert list(one_ahead(iter([None, 0]))) == [None, 0]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_is_raised_where_its_item_would_have_come(error):
    def items():
        yield 1
        raise error

    ahead = one_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(error):
        next(ahead)


def test_jobs_are_done_in_order_before_the_block_ends_and_few_wait():
    done, gate, begun = [], threading.Event(), threading.Event()

    def job(number):
        begun.set()
        gate.wait(10)
        done.append(number)

    with Behind() as behind:
        for number in range(3):
            behind.do(job, number)
        assert begun.wait(10)
        assert done == []
        gate.set()
        for number in range(3, 50):
            behind.do(job, number)
            assert len(done) >= number - 3
    assert done == list(range(50))


def test_the_error_of_a_job_is_raised_and_an_error_in_the_block_wins():
    def job(_):
        raise ValueError("job")

    with pytest.raises(ValueError, match="job"), Behind() as behind:
        behind.do(job, 0)
    with pytest.raises(KeyError), Behind() as behind:
        behind.do(job, 0)
        raise KeyError


def test_nothing_is_done_after_a_job_that_failed():
    done = []

    def fail(_):
        raise ValueError

    with pytest.raises(ValueError), Behind() as behind:
        behind.do(fail, 0)
        behind.do(done.append, 1)
        behind.do(done.append, 2)
    assert done == []
