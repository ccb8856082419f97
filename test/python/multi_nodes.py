"""Celery's own reading of command lines of `celery multi`: JSON lists of words in, nodes out."""
import json
import shlex
import sys

from celery.apps import multi as apps
from celery.bin.multi import MultiTool

apps.gethostname = lambda: "myhost"


def read(words):
    try:
        _, cluster = MultiTool()._cluster_from_argv(words)
        return [
            {
                "name": node.name,
                "words": shlex.split(" ".join(node.argv)),
                "pidfile": node.pidfile,
                "expanded": node.expander("%n %N %h %p %d %i %I"),
            }
            for node in cluster
        ]
    except KeyError as exc:
        return {"error": exc.args[0]}


json.dump([read(words) for words in json.load(sys.stdin)], sys.stdout)
