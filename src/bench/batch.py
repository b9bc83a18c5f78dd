"""Many pairs at once: steps per second of each pair, and of all, by their number."""

from collections.abc import Callable, Iterator

import torch

from src.batch.loop import at_once_on
from src.batch.objective import descend, joined
from src.bench import roof
from src.bench.cases import LIBRARIES, Case, device_of, free_bytes, prepare
from src.bench.plan import MODES, PRECISIONS, Plan
from src.bench.results import Measured
from src.bench.timing import interleaved
from src.transfer.canvas import Canvas
from src.transfer.compilation import compiled
from src.transfer.optimizers import build_optimizer


def measure(plan: Plan) -> Iterator[Measured]:
    """Yield every number of pairs; those of one network, precision and mode are timed in turn, and the roof with them.

    A step is that of `batch.module` without Lightning. The pairs are one pair again and again: what a step takes does
    not depend on what is to be seen.
    """
    device = device_of(plan)
    gpu = device.type != "cpu"
    for backbone, edge in plan.batches if gpu else plan.batches_on_cpu:
        for precision in PRECISIONS:
            for mode in plan.modes if gpu else MODES[:1]:  # a CPU evaluates pair after pair, compiled or not
                yield from _by_number(Case(backbone, edge, precision, mode), plan, device)


def _by_number(case: Case, plan: Plan, device: torch.device) -> Iterator[Measured]:
    calls: dict[str, Callable[[], object]] = {}
    obstacles = {pairs: obstacle_of(case, pairs, device) for pairs in plan.pairs}
    for pairs in plan.pairs:
        if not obstacles[pairs]:
            calls[str(pairs)] = step_of(case, pairs, plan, device)
    if calls:
        timings = interleaved({**calls, **roof.calls(device)}, plan, device)
    alone = None
    for pairs in plan.pairs:
        label = {**case.label, "pairs": pairs}
        if obstacles[pairs]:
            yield Measured(label, note=obstacles[pairs])
            continue
        seconds = timings[str(pairs)].seconds
        values = {"seconds": seconds, "it_per_s": 1 / seconds, "pairs_it_per_s": pairs / seconds}
        alone = alone or values["pairs_it_per_s"] if pairs == 1 else alone
        if alone:
            values["ratio"] = values["pairs_it_per_s"] / alone
        values["gflops"] = pairs * case.operations / seconds / 1e9
        for kind, rate in roof.rates(timings, case.precision, device).items():
            values[f"share_of_{kind}"] = values["gflops"] / rate
        yield Measured(label, values)


def obstacle_of(case: Case, pairs: int, device: torch.device) -> str:
    """Return why a device cannot run so many pairs at once, or nothing."""
    if obstacle := case.obstacle(device):
        return obstacle
    together = min(pairs, at_once_on(device, pairs))
    needed = (LIBRARIES + together * (case.needed_bytes - LIBRARIES)) / 2**30
    free = free_bytes(device) / 2**30
    return f"needs about {needed:.0f} GiB, and {free:.0f} are free" if needed > free else ""


def step_of(case: Case, pairs: int, plan: Plan, device: torch.device) -> Callable[[], None]:
    """Return a step of so many pairs: evaluation, optimiser, projection."""
    config = case.config(*plan.overrides)
    prepared = prepare(config)
    canvas = Canvas.joined([prepared.canvas] * pairs)
    at_once = at_once_on(device, pairs)
    parts = [joined([prepared.objective] * min(at_once, pairs - first)) for first in range(0, pairs, at_once)]
    evaluates = [compiled(part) for part in parts] if config.trainer.compile == "always" else parts
    optimizer = build_optimizer(config.optimizer, canvas.parameters())

    def step() -> None:
        canvas.zero_grad()
        descend(canvas, evaluates, at_once)
        optimizer.step()
        canvas.after_update()

    return step
