"""Bound the time that a call may take."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Value = TypeVar("Value")


def within(seconds: float, action: Callable[[], Value]) -> Value:
    """Run `action` in a daemon thread and return its result.

    Per-operation time-outs of network libraries do not bound the whole: a server that sends a byte a second resets
    them with every byte.

    Raises:
        TimeoutError: `action` takes longer than `seconds`. Its thread is abandoned and ends with the process.
        BaseException: whatever `action` raises.
    """
    result: Future[Value] = Future()

    def work() -> None:
        try:
            result.set_result(action())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return result.result(timeout=seconds)
