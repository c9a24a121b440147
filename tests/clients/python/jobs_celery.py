"""Celery's tasks. ``celery --app jobs_celery worker`` runs them."""

from celery import Celery
from jobs import PORT, PREFIX, is_first, note, ten_a_second, two_at_once, two_in_two_seconds, worked
from ratelimit_client.celery import hold_slot, rate_limited, shut, take_turn, with_slot

app = Celery("jobs", broker=f"redis://127.0.0.1:{PORT}/1")
app.conf.update(task_default_queue=PREFIX, broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1, task_ignore_result=True)


@app.task(bind=True, max_retries=0)
def rate(self, name):
    note(name, "runs")
    take_turn(self, ten_a_second, name)
    note(name)


@app.task(bind=True)
@rate_limited(two_in_two_seconds, lambda name: name)
def window(self, name):
    note(name)


@app.task(bind=True)
@with_slot(two_at_once, lambda name, seconds: name, again="200ms")
def slot(self, name, seconds):
    worked(name, seconds)


@app.task(bind=True)
def provider(self, name):
    take_turn(self, ten_a_second, name)
    if is_first(name):
        note(name, "shut")
        shut(self, ten_a_second, name, "1")
    note(name)


@app.task(bind=True, max_retries=3)
def fails_once(self, name):
    take_turn(self, ten_a_second, name)
    note(name)
    if is_first(name):
        raise self.retry(countdown=0)


@app.task(bind=True)
def both(self, name):
    with hold_slot(self, two_at_once, name, again="200ms"):
        take_turn(self, ten_a_second, name)
        worked(name, 0)


TASKS = {task.__name__: task.delay for task in (rate, window, slot, provider, fails_once, both)}
