"""What every drain runs: a task that does nothing. Its twin for tq is noop.js."""
import os
import time

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BACKEND"])
app.conf.broker_connection_retry_on_startup = True


@app.task(name="bench.noop")
def noop(n):
    return n


@app.task(name="bench.total")
def total(numbers):
    return sum(numbers)


@app.task(name="bench.nap")
def nap(n):
    time.sleep(0.01)
    return n


@app.task(name="bench.measure")
def measure(text):
    return len(text)
