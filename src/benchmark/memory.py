"""Peak memory by size, each case in a fresh process, so that no peak hides another."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import torch

from src.benchmark.cases import Case, device_of, prepare, program_of, step_of
from src.benchmark.plan import MODES, PRECISIONS, PROGRAM, Plan
from src.benchmark.results import Measured
from src.metrics import peak_mib, reset_peak_memory

STEPS = 2  # the optimiser's moments are there from the first on


def measure(plan: Plan) -> Iterator[Measured]:
    """Yield what the steps of every case take, MiB, and those of the published program."""
    device = device_of(plan)
    for backbone in plan.backbones:
        for edge in plan.sizes:
            cases = [Case(backbone, edge, precision, mode) for precision in PRECISIONS for mode in plan.modes]
            for case in [*cases, Case(backbone, edge, mode=PROGRAM)]:
                yield _apart(case, plan, device)


def _apart(case: Case, plan: Plan, device: torch.device) -> Measured:
    if obstacle := case.obstacle(device):
        return Measured(case.label, note=obstacle)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            peak = pool.submit(peak_of, case, plan).result()
        except BrokenProcessPool:
            return Measured(case.label, note="the system ended it: too little memory")
        except torch.OutOfMemoryError:
            return Measured(case.label, note="too little memory")
    return Measured(case.label, {"peak_mib": peak})


def peak_of(case: Case, plan: Plan) -> float:
    """Return the peak of some steps of a case, MiB: what `metrics.peak_mib` reads, the preparation left out."""
    ours = case if case.mode in MODES else Case(case.backbone, case.edge, case.precision)
    config = ours.config(*plan.overrides)
    prepared = prepare(config)
    step = program_of(prepared).step if case.mode == PROGRAM else step_of(config, prepared)
    device = prepared.content.device
    reset_peak_memory(device)
    for _ in range(STEPS):
        step()
    return peak_mib(device)
