"""What every drain runs: a task that does nothing. Its twin for tq is noop.js."""
import os

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_BACKEND"])
app.conf.broker_connection_retry_on_startup = True


@app.task(name="bench.noop")
def noop(n):
    return n
