"""Reads lines of JSON, [fields, instant, zone], and prints when Celery's crontab runs next, as seconds since the epoch."""

import json
import sys
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

from celery import Celery
from celery.schedules import crontab

apps = {}
for line in sys.stdin:
    fields, instant, zone = json.loads(line)
    if zone not in apps:
        apps[zone] = Celery(zone, set_as_current=False)
        apps[zone].conf.timezone = zone
    now = datetime.fromtimestamp(instant, timezone.utc).astimezone(ZoneInfo(zone))
    try:
        schedule = crontab(**fields, nowfun=lambda now=now: now, app=apps[zone])
        print(round(instant + schedule.remaining_estimate(now).total_seconds()))
    except Exception as exc:  # the kind is what counts
        print(json.dumps(f"{type(exc).__name__}: {exc}"))
