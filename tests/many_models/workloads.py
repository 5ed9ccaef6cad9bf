"""What workers do in these tests. Light to import: a child that does not have it loaded imports it anew each time."""

import math
import os
import subprocess
import sys
import time
from functools import partial

from many_models.child import call
from many_models.errors import StoreFull
from many_models.protocols import OK, QUARANTINED, Batch, Group, GroupResult, Receipt
from tests.many_models import poison


def doubled(value):
    return value * 2


def sleepy(value, seconds=0.01):
    time.sleep(seconds)
    return value


def staggered(value):
    time.sleep(1.5 if value == 0 else 0.05)
    return value


def refuses(value):
    if value % 3 == 0:
        raise ValueError(f"not {value}")
    return value


def full(value):
    if value == 2:
        raise StoreFull("no room on the disk")
    time.sleep(0.1)
    return value


def forecast(seed):
    """As a fit does it: in a child, with linear algebra and random numbers of its own seed."""

    def work(seed):
        import numpy as np

        matrix = np.random.default_rng(seed).normal(size=(120, 60))
        return np.linalg.lstsq(matrix, np.cumsum(matrix[:, 0]), rcond=None)[0].tobytes()

    return call(work, seed).value


def batch_of(*names):
    return Batch(tuple(Group((name,), 10, "") for name in names), ("part",))


def fit(batch):
    for group in batch.groups:
        if group.key[0] == "floods":
            poison.flood(2**28)
        poison.harm(group.key[0])
    return Receipt(
        batch.name,
        tuple(
            GroupResult(group.digest, OK, loss=math.nan if group.key[0] == "is not a number" else len(group.key[0]))
            for group in batch.groups
        ),
    )


def lost(batch, death, attempts):
    (group,) = batch.groups
    return Receipt(batch.name, (GroupResult(group.digest, QUARANTINED, reason=death.reason, error=death.text),))


def long_call(mark, _):
    return call(partial(long_sleep, mark), None)


def long_sleep(mark, _):
    """A child, and what it begins, under a name by which they are found."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", mark])
    with open(mark, "a") as stream:
        stream.write(f"{os.getpid()}\n")
    time.sleep(600)


def quick_then_long(mark, item):
    return item if item == 0 else long_call(mark, item)


def suicidal(item):
    if item == 1:
        os._exit(9)
    return item
