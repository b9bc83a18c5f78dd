"""Several runs in one batch, each with a folder of its own, and an end of its own."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from src.common.errors import Interrupted
from src.common.signals import Interrupts
from src.config.schema import RunConfig
from src.data.sources import find_files
from src.run import load_pytorch
from src.tracking.record import RunRecord

if TYPE_CHECKING:
    from src.batch.pairs import Pair
    from src.training.preparation import Preparation


def run_together(jobs: Sequence[tuple[RunConfig, Path]], at_once: int | None = None) -> list[RunRecord | BaseException]:
    """Optimise several pictures in one batch; what `run` says of a folder holds for each of them.

    Runs that go on from different steps are not in step: they go on in a batch for each step.

    Args:
        jobs: options and folder of each, such as `batch.grouping` puts together; no folder twice.
        at_once: how many are evaluated together; None is all on a GPU, one on a CPU.

    Returns:
        For each job its record, or what it failed of.

    Raises:
        Interrupted: SIGINT or SIGTERM; pictures and checkpoints are written.
    """
    load_pytorch()

    from src.batch.loop import fit, going
    from src.batch.pairs import Pair

    with Interrupts() as interrupts:
        pairs = [Pair(config, folder) for config, folder in jobs]
        at_work = going(pairs)
        try:
            for _, group in groupby(sorted(_prepared(at_work), key=Pair.order), key=Pair.order):
                fit(list(group), interrupts, at_once)
        except Exception as error:  # of the batch, not of a pair
            for pair in going(pairs):
                pair.end(error)
        except BaseException as error:
            for pair in going(pairs):
                pair.end(error)
            raise
    if interrupts.received is not None and at_work:
        raise Interrupted(interrupts.received, "the same command in the same sweep folder")
    return [pair.error or pair.record for pair in pairs]


def _prepared(pairs: "Sequence[Pair]") -> "list[Pair]":
    """Return the pairs whose pictures can be used, prepared; the others are over."""
    known: Preparation | None = None
    ready = []
    for pair in pairs:
        with pair.alone():
            preparation = pair.prepare(find_files(pair.config), known)
            known = known or preparation
            ready.append(pair)
    return ready
