"""Values of rich types as plain JSON, so that both halves of a test mean the same.

{"$bytes": base64}  {"$datetime": iso}  {"$date": iso}  {"$time": iso}  {"$decimal": text}
{"$uuid": text}  {"$int": digits}, where a double cannot hold it  {"$float": "nan" | "inf" | "-inf"}
"""

import base64
import datetime
import decimal
import math
import uuid

SAFE = 2**53 - 1


def tag(value):
    """A value of Python as plain JSON."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return value if abs(value) <= SAFE else {"$int": str(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime.datetime):
        return {"$datetime": value.isoformat()}
    if isinstance(value, datetime.date):
        return {"$date": value.isoformat()}
    if isinstance(value, datetime.time):
        return {"$time": value.isoformat()}
    if isinstance(value, decimal.Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, uuid.UUID):
        return {"$uuid": str(value)}
    if isinstance(value, (list, tuple)):
        return [tag(one) for one in value]
    if isinstance(value, dict):
        return {str(key): tag(one) for key, one in value.items()}
    return {"$repr": repr(value)}


UNTAG = {
    "$bytes": base64.b64decode,
    "$datetime": datetime.datetime.fromisoformat,
    "$date": datetime.date.fromisoformat,
    "$time": datetime.time.fromisoformat,
    "$decimal": decimal.Decimal,
    "$uuid": uuid.UUID,
    "$int": int,
    "$float": float,
}


def untag(value):
    """The value of Python that plain JSON stands for."""
    if isinstance(value, list):
        return [untag(one) for one in value]
    if isinstance(value, dict):
        if len(value) == 1:
            ((key, inner),) = value.items()
            if key in UNTAG:
                return UNTAG[key](inner)
        return {key: untag(one) for key, one in value.items()}
    return value


def kind_of(value):
    """The name of a value's type, as both halves spell it."""
    return "null" if value is None else type(value).__name__.lower()
