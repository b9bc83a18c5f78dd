"""Bound the time that a call may take."""

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Value = TypeVar("Value")


def within(seconds: float, action: Callable[[], Value]) -> Value:
    """Run `action` in a daemon thread and return its result, or raise its exception.

    Time-outs of network libraries bound each read: a server that sends a byte a second never reaches them.

    Raises:
        TimeoutError: `action` takes longer. Its thread is abandoned and ends with the process.
    """
    result: Future[Value] = Future()
    context = contextvars.copy_context()  # log lines of the thread belong to the same run

    def work() -> None:
        try:
            result.set_result(context.run(action))
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return result.result(timeout=seconds)
