"""Runs in this process: stopping one midway, and reading what it logged."""

import csv
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from src.common.errors import Interrupted
from src.config.schema import RunConfig
from src.evaluation import quality
from src.run import run
from src.training.pair import Pair


def run_until(step: int, config: RunConfig, folder: Path) -> None:
    """Run with a SIGTERM that arrives while the step before `step` is taken."""
    observe = Pair.observe

    def observe_and_signal(self: Pair, values: Mapping[str, float], now: int, may_reach: bool) -> bool:
        if now == step - 1:
            signal.raise_signal(signal.SIGTERM)
        return observe(self, values, now, may_reach)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Pair, "observe", observe_and_signal)
        run(config, folder)


@contextmanager
def signalled_at_the_end(number: int) -> Iterator[None]:
    """Send a signal to this process while the first run of the block is judged, after its last step."""
    judge, sent = quality.judge, []

    def judge_and_signal(*given: Any) -> dict[str, float]:
        if not sent:
            sent.append(number)
            signal.raise_signal(number)
        return judge(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "judge", judge_and_signal)
        yield


def metric_rows(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a run's metrics.csv."""
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
