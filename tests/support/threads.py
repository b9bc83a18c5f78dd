"""Results computed with several numbers of threads."""

from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def with_threads(compute: Callable[[], Result], counts: tuple[int, ...] = (1, 2, 3)) -> list[Result]:
    """Call a function once for each number of PyTorch threads, and return its results."""
    before, results = torch.get_num_threads(), []
    try:
        for threads in counts:
            torch.set_num_threads(threads)
            results.append(compute())
    finally:
        torch.set_num_threads(before)
    return results
