"""The Python half of the interoperability tests: a plain Celery project.

test/apps/wire.ts registers the same tasks under the same names for tq. Broker and result store
come from TQ_BROKER_URL and TQ_RESULT_BACKEND, further settings as JSON from TQ_SETTINGS.
"""

import json
import os
import sys
import time

from celery import Celery, Task, chord, group
from celery.exceptions import Ignore, Reject

from values import kind_of

app = Celery(
    "wire",
    broker=os.environ.get("TQ_BROKER_URL"),
    backend=os.environ.get("TQ_RESULT_BACKEND"),
)
app.conf.update(
    result_extended=True,
    task_track_started=True,
    worker_hijack_root_logger=True,
    broker_connection_retry_on_startup=True,
    task_routes={"wire.routed": {"queue": "routed"}, "wire.pattern.*": {"queue": "routed"}},
)
app.conf.update(json.loads(os.environ.get("TQ_SETTINGS", "{}")))


class CustomError(Exception):
    """An exception only this module knows."""


def append(path, line):
    """One write with O_APPEND: lines of many processes never mix."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{line}\n".encode())
    finally:
        os.close(handle)


@app.task(name="wire.add")
def add(x, y):
    return x + y


@app.task(name="wire.mul")
def mul(x, y):
    return x * y


@app.task(name="wire.xsum")
def xsum(numbers):
    return sum(numbers)


@app.task(name="wire.echo")
def echo(value):
    return value


@app.task(name="wire.kinds")
def kinds(values):
    """What each value is here, by Python's name of its type."""
    return [kind_of(value) for value in values]


@app.task(name="wire.keywords")
def keywords(first, second="two", third="three"):
    return {"first": first, "second": second, "third": third}


@app.task(name="wire.fail")
def fail(message):
    raise ValueError(message)


@app.task(name="wire.fail_custom")
def fail_custom(message, number):
    raise CustomError(message, number)


@app.task(name="wire.flaky", bind=True, max_retries=5)
def flaky(self, failures):
    """Succeeds after so many retries."""
    if self.request.retries < failures:
        raise self.retry(countdown=0, exc=RuntimeError(f"try {self.request.retries}"))
    return self.request.retries


@app.task(name="wire.hopeless", bind=True, max_retries=2)
def hopeless(self):
    raise self.retry(countdown=0, exc=RuntimeError("hopeless"))


@app.task(name="wire.auto", bind=True, autoretry_for=(KeyError,), max_retries=3, default_retry_delay=0)
def auto(self, failures):
    if self.request.retries < failures:
        raise KeyError("again")
    return self.request.retries


@app.task(name="wire.sleep")
def sleep(seconds):
    time.sleep(seconds)
    return seconds


@app.task(name="wire.now")
def now():
    return time.time()


@app.task(name="wire.note_failure", bind=True)
def note_failure(self, task_id, path):
    """An errback of the older style: a task of its own, called with the id of the one that failed."""
    append(path, f"failed {task_id}")


@app.task(name="wire.note_error")
def note_error(request, error, traceback, path):
    """An errback of the newer style: called where the task failed, with its request and error."""
    append(path, f"{type(error).__name__} {request.id}")


@app.task(name="wire.become", bind=True)
def become(self, x, kind):
    """Puts something else in its place, which comes to ten times the number plus whatever it is."""
    if kind == "task":
        return self.replace(mul.s(x, 10))
    if kind == "chain":
        return self.replace(mul.s(x, 10) | add.s(1))
    if kind == "group":
        return self.replace(group(mul.s(x, 10), mul.s(x, 11)))
    if kind == "chord":
        return self.replace(chord([mul.s(x, 4), mul.s(x, 6)], xsum.s()))
    if kind == "failure":
        return self.replace(fail.s("replaced"))
    raise ValueError(f"there is no {kind}")


@app.task(name="wire.grow", bind=True)
def grow(self, x):
    """Has its chord wait for one more, the double of its number."""
    self.add_to_chord(add.s(x, x))
    return x


@app.task(name="wire.place", bind=True)
def place(self, before=None):
    """Where in a workflow it runs, and its stamps."""
    info = self.request
    names = info.stamped_headers or []
    stamps = {name: info.stamps.get(name) for name in names} if info.stamps else {}
    return {
        "id": info.id,
        "root_id": info.root_id,
        "parent_id": info.parent_id,
        "group": info.group,
        "group_index": info.group_index,
        "stamps": {name: value if isinstance(value, list) else [value] for name, value in stamps.items()},
    }


@app.task(name="wire.tell", bind=True, max_retries=5)
def tell(self, *args):
    """Answers its name and what it was given, and writes that down; its last argument says what else to do."""
    *given, order = args
    if self.request.retries < order["retries"]:
        raise self.retry(countdown=0)
    answer = {"name": order["name"], "given": given}
    append(os.environ["TQ_TELL"], json.dumps(answer))
    if order["fails"]:
        raise ValueError(json.dumps(order["name"]))
    if order["becomes"]:
        return self.replace(app.signature(order["becomes"]))
    return answer


@app.task(name="wire.spawn")
def spawn(x):
    """Makes a call of its own."""
    add.delay(x, x)
    return x


@app.task(name="wire.quiet", ignore_result=True)
def quiet(path, line):
    append(path, line)
    return line


@app.task(name="wire.record")
def record(path, line):
    append(path, line)
    return line


@app.task(name="wire.record_late", acks_late=True, reject_on_worker_lost=True)
def record_late(path, line, seconds=0.0):
    time.sleep(seconds)
    append(path, line)
    return line


@app.task(name="wire.large")
def large(size):
    return "x" * size


@app.task(name="wire.who")
def who(seconds=0.0):
    """The language of the worker that ran it."""
    time.sleep(seconds)
    return "python"


@app.task(name="wire.request", bind=True)
def request(self, *args, **kwargs):
    info = self.request
    return {
        "id": info.id,
        "task": info.task,
        "args": list(info.args),
        "kwargs": dict(info.kwargs),
        "retries": info.retries,
        "root_id": info.root_id,
        "parent_id": info.parent_id,
        "correlation_id": info.correlation_id,
        "routing_key": info.delivery_info.get("routing_key"),
        "priority": info.delivery_info.get("priority"),
        "headers": {key: value for key, value in (info.headers or {}).items() if key.startswith("x_")},
    }


@app.task(name="wire.routed", bind=True)
def routed(self):
    return self.request.delivery_info.get("routing_key")


@app.task(name="wire.pattern.one", bind=True)
def pattern_one(self):
    return self.request.delivery_info.get("routing_key")


@app.task(name="wire.progress", bind=True)
def progress(self, steps):
    for step in range(steps):
        self.update_state(state="PROGRESS", meta={"current": step + 1, "total": steps})
        time.sleep(0.05)
    return steps


@app.task(name="wire.ignore", bind=True)
def ignore(self):
    raise Ignore()


@app.task(name="wire.reject", bind=True)
def reject(self):
    raise Reject("no", requeue=False)


@app.task(name="wire.print")
def print_line(line):
    print(line)
    print(line, file=sys.stderr)
    return line


@app.task(name="wire.kill_child")
def kill_child():
    os.kill(os.getpid(), 9)


@app.task(name="wire.event", bind=True)
def event(self):
    self.send_event("task-custom", foo="bar")
    return 1


class Tracked(Task):
    """A task class of its own, as Python projects have them."""

    abstract = True


@app.task(name="wire.tracked", base=Tracked)
def tracked(x):
    return x
