"""Run a function in a child process that can be killed when its time is over."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from forecastml.budget import Deadline
from forecastml.errors import DeadlineExceeded, LearnerError

T = TypeVar("T")


def _serve(connection: Connection, call: bytes) -> None:
    import cloudpickle

    function, argument = cloudpickle.loads(call)
    connection.send_bytes(cloudpickle.dumps(function(argument)))
    connection.close()


def call_in_child(function: Callable[[object], T], argument: object, deadline: Deadline) -> T:
    """`function(argument)` in a fresh process, killed at the deadline.

    Raises `DeadlineExceeded` when killed, `LearnerError` when the child died (crash in native code, out of memory).
    The function, its argument and its result go over as cloudpickle writes them, classes of scripts and notebooks too.
    """
    import cloudpickle

    processes = multiprocessing.get_context("spawn")
    receiver, sender = processes.Pipe(duplex=False)
    child = processes.Process(target=_serve, args=(sender, cloudpickle.dumps((function, argument))), daemon=True)
    child.start()
    sender.close()
    try:
        if not receiver.poll(None if math.isinf(deadline.at) else deadline.remaining):
            raise DeadlineExceeded("the time limit is over; the learner was stopped from outside")
        return cloudpickle.loads(receiver.recv_bytes())
    except EOFError:
        child.join()
        raise LearnerError(f"the child process died with exit code {child.exitcode}") from None
    finally:
        if child.is_alive():
            child.kill()
        child.join()
        receiver.close()
