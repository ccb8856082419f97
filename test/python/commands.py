"""Celery's command line, many times in one process: one JSON list of arguments per line in, one JSON object per line out.

Python takes a second to start; what runs here is what `celery` runs, with what it prints caught.
"""

import json
import sys

from celery.bin.celery import celery
from click.testing import CliRunner

for line in sys.stdin:
    result = CliRunner().invoke(celery, json.loads(line), prog_name="celery")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    print(json.dumps({"code": result.exit_code, "output": result.output}), file=sys.__stdout__, flush=True)
