"""A Celery client that is told what to do: one JSON object per line in, one per line out.

It stays alive for a whole test file, so that a call costs milliseconds and not the start of Python.
"""

import json
import sys
import time
import traceback

from celery import chain, chord, group
from celery.exceptions import TimeoutError
from celery.result import AsyncResult, GroupResult

from values import tag, untag
from wire import app


def prepare(call):
    options = {key: untag(value) for key, value in call.get("options", {}).items()}
    return call["task"], untag(call.get("args", [])), untag(call.get("kwargs", {})), options


# AsyncResults are kept: an rpc result belongs to the client that asked for it.
results = {}


def send(call):
    name, args, kwargs, options = prepare(call)
    if call.get("by_name"):
        result = app.send_task(name, args, kwargs, **options)
    else:
        result = app.tasks[name].apply_async(args, kwargs, **options)
    results[result.id] = result
    return result.id


def build(spec):
    """A signature of a call, or of calls composed: {"chain": […]}, {"group": […]}, {"chord": […], "body": …}."""
    signature = compose_parts(spec)
    for one in spec.get("link", []):
        signature.link(build(one))
    for one in spec.get("link_error", []):
        signature.link_error(build(one))
    if "stamp" in spec:
        signature.stamp(**spec["stamp"])
    return signature


def compose_parts(spec):
    if "chain" in spec:
        return chain(*map(build, spec["chain"]))
    if "group" in spec:
        return group(*map(build, spec["group"]))
    if "chord" in spec:
        return chord([build(one) for one in spec["chord"]], build(spec["body"]))
    if "map" in spec:
        return app.tasks[spec["map"]].map(spec["items"])
    if "starmap" in spec:
        return app.tasks[spec["starmap"]].starmap(spec["items"])
    if "chunks" in spec:
        return app.tasks[spec["chunks"]].chunks(spec["items"], spec["size"]).group()
    name, args, kwargs, options = prepare(spec)
    return app.signature(name, args, kwargs, immutable=spec.get("immutable", False), **options)


def compose(spec):
    result = build(spec).apply_async()
    results[result.id] = result
    return result.id


def result_of(task_id):
    return results.get(task_id) or AsyncResult(task_id, app=app)


def value_of(result, timeout, on_message):
    """The value. Members of groups one by one: Celery's `get` of a group does not see all that are there already."""
    if isinstance(result, GroupResult):
        return [value_of(one, timeout, on_message) for one in result]
    return result.get(timeout=timeout, on_message=on_message)


def outcome(task_id, timeout, on_message=None):
    result = result_of(task_id)
    try:
        return {"kind": "success", "value": tag(value_of(result, timeout, on_message))}
    except TimeoutError as error:
        if result.ready():
            raise
        return {"kind": "timeout", "message": str(error)}
    except Exception as error:
        return {
            "kind": "failure",
            "type": type(error).__name__,
            "message": str(error),
            "args": tag(error.args),
            "state": getattr(result, "state", ""),
            "traceback": str(getattr(result, "traceback", None) or ""),
        }


def outcomes(task_ids, timeout):
    """The outcomes of many calls, which share one deadline."""
    deadline = time.monotonic() + timeout
    if str(app.conf.result_backend).startswith("redis"):
        # What waits for many one after another, and looks away meanwhile, has Celery miss some of them.
        waiting, pause = [result_of(task_id) for task_id in task_ids], 0.01
        while (waiting := [result for result in waiting if not result.ready()]) and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(0.5, pause * 1.5)
    return [outcome(task_id, max(0.1, deadline - time.monotonic())) for task_id in task_ids]


def watch(task_id, timeout):
    """The outcome, and each state that was seen on the way with its data."""
    states = []
    end = outcome(task_id, timeout, lambda meta: states.append([meta["status"], tag(meta["result"])]))
    return {"outcome": end, "states": states}


def inspect(request):
    """A method of `app.control.inspect()`, as a Python program calls it."""
    asked = app.control.inspect(**request["options"])
    return getattr(asked, request["method"])(*request.get("args", []), **request.get("kwargs", {}))


def control(request):
    """A method of `app.control`."""
    return getattr(app.control, request["method"])(*request.get("args", []), **request.get("kwargs", {}))


OPERATIONS = {
    "inspect": inspect,
    "control": control,
    "send": lambda request: [send(call) for call in request["calls"]],
    "outcomes": lambda request: outcomes(request["ids"], request["timeout"]),
    "compose": lambda request: compose(request["spec"]),
    "state": lambda request: result_of(request["id"]).state,
    "watch": lambda request: watch(request["id"], request["timeout"]),
}


def main():
    replies = sys.stdout
    sys.stdout = sys.stderr
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = {"value": OPERATIONS[request["op"]](request)}
        except Exception:
            reply = {"error": traceback.format_exc()}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
