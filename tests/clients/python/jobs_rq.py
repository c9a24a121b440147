"""RQ's jobs. ``rq worker`` runs them."""

import redis
from jobs import PORT, PREFIX, is_first, note, ten_a_second, two_at_once, two_in_two_seconds, worked
from ratelimit_client.rq import comes_back, hold_slot, rate_limited, shut, take_turn, with_slot
from rq import Queue, Retry

queue = Queue(PREFIX, connection=redis.Redis(port=PORT, db=2))


@comes_back
def rate(name):
    note(name, "runs")
    take_turn(ten_a_second, name)
    note(name)


@rate_limited(two_in_two_seconds, lambda name: name)
def window(name):
    note(name)


@with_slot(two_at_once, lambda name, seconds: name, again="200ms")
def slot(name, seconds):
    worked(name, seconds)


@comes_back
def provider(name):
    take_turn(ten_a_second, name)
    if is_first(name):
        note(name, "shut")
        shut(ten_a_second, name, "1")
    note(name)


@comes_back
def fails_once(name):
    take_turn(ten_a_second, name)
    note(name)
    if is_first(name):
        raise RuntimeError("once")


@comes_back
def both(name):
    with hold_slot(two_at_once, name, again="200ms"):
        take_turn(ten_a_second, name)
        worked(name, 0)


def enqueue(function):
    return lambda *args: queue.enqueue(function, *args, retry=Retry(max=1) if function is fails_once else None)


TASKS = {function.__name__: enqueue(function) for function in (rate, window, slot, provider, fails_once, both)}
