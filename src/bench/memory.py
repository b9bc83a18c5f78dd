"""Peak memory by size, each case in a fresh process, so that no peak hides another."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import torch

from src.bench.cases import Case, device_of, prepare_in, program_of, step_of
from src.bench.plan import PRECISIONS, PROGRAM, STRATEGIES, Plan
from src.bench.results import Measured
from src.common.platform import now
from src.training.economy import out_of_memory
from src.training.metrics import peak_mib, reset_peak_memory

STEPS = 2  # the optimiser's moments are there from the first on


def measure(plan: Plan) -> Iterator[Measured]:
    """Yield what the steps of every case take, MiB and s, beside what was expected, and those of the published program.

    In float32 also with less kept for the gradient.
    """
    device = device_of(plan)
    for backbone in plan.backbones:
        for edge in (*plan.sizes, *plan.large):
            cases = [Case(backbone, edge, precision, mode) for precision in PRECISIONS for mode in plan.modes]
            cases += [Case(backbone, edge, mode=mode) for mode in (*STRATEGIES, PROGRAM)]
            for case in cases:
                yield _apart(case, plan, device)


def _apart(case: Case, plan: Plan, device: torch.device) -> Measured:
    if obstacle := case.obstacle(device):
        return Measured(case.label, note=obstacle)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(peak_of, case, plan).result()
        except BrokenProcessPool:
            return Measured(case.label, note="the system ended it: too little memory")
        except Exception as error:
            if not out_of_memory(error):
                raise
            return Measured(case.label, note="too little memory")


def peak_of(case: Case, plan: Plan) -> Measured:
    """Return the peak of some steps of a case, MiB: what `metrics.peak_mib` reads, the preparation left out.

    Beside it the time of the last step, s, and, where the case is ours, the peak that was expected, MiB.
    """
    theirs = case.mode == PROGRAM
    ours = Case(case.backbone, case.edge, case.precision) if theirs else case
    config = ours.config(*plan.overrides)
    prepared, economy = prepare_in(config)
    step = program_of(prepared).step if theirs else step_of(config, prepared)
    device = prepared.content.device
    reset_peak_memory(device)
    for _ in range(STEPS):
        begun = now(device)
        step()
        seconds = now(device) - begun
    values = {"peak_mib": peak_mib(device), "seconds": seconds}
    if theirs:
        return Measured(case.label, values)
    blocks = economy.recomputed.blocks
    note = f"{blocks} of {economy.footprint.blocks} blocks computed anew" if blocks else ""
    return Measured(case.label, {**values, "estimate_mib": economy.estimate / 2**20}, note)
