"""Peak memory by size and strategy."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial

from src.bench.cases import Case, Setup, Step, open_device
from src.bench.plan import PRECISIONS, PROGRAM, STRATEGIES, Plan
from src.bench.results import OUT_OF_MEMORY, Row
from src.common.platform import now
from src.training.memory import out_of_memory, peak_mib, reset_peak_memory

STEPS = 2  # the first creates the optimiser's moments


def measure(plan: Plan) -> Iterator[Row]:
    """Yield peak (MiB), estimate and step time of every case, of the strategies in float32, and of the program."""
    device = open_device(plan)
    # One process imports the libraries; the process of each case is forked from it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    for backbone in plan.backbones:
        for edge in (*plan.sizes, *plan.large):
            cases = [Case(backbone, edge, precision, mode) for precision in PRECISIONS for mode in plan.modes]
            for case in [*cases, *(Case(backbone, edge, mode=mode) for mode in (*STRATEGIES, PROGRAM))]:
                if obstacle := case.obstacle(device):
                    yield Row(case.label, note=obstacle)
                elif not plan.isolated or device.type != "cpu":  # a GPU counts allocations, not resident pages
                    yield _outcome(case, partial(peak_of, case, plan))
                else:
                    with ProcessPoolExecutor(1, context) as pool:
                        yield _outcome(case, pool.submit(peak_of, case, plan).result)


def _outcome(case: Case, measured: Callable[[], Row]) -> Row:
    try:
        return measured()
    except Exception as error:
        if not isinstance(error, BrokenProcessPool) and not out_of_memory(error):  # broken: killed by the system
            raise
        return Row(case.label, note=OUT_OF_MEMORY)


def peak_of(case: Case, plan: Plan) -> Row:
    """Return the peak of two steps of a case, without their preparation, and the time of the second.

    The estimate is given for our steps only.
    """
    device = open_device(plan)
    theirs = case.mode == PROGRAM
    setup = Setup.of((replace(case, mode="eager") if theirs else case).config(*plan.overrides))
    step = setup.program().step if theirs else Step(setup)
    reset_peak_memory(device)
    for _ in range(STEPS):
        begun = now(device)
        step()
        seconds = now(device) - begun
    values = {"peak_mib": peak_mib(device), "seconds": seconds}
    if theirs:
        return Row(case.label, values)
    return Row(case.label, {**values, "estimate_mib": setup.estimate_mib}, setup.note)
