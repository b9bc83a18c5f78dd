"""Timing of single steps: sections `speed`, `race`, `batch` and `lightning`."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from src.bench import peak_rate
from src.bench.cases import Case, Setup, Step, open_device
from src.bench.plan import MODES, PRECISIONS, PROGRAM, Plan
from src.bench.results import Row
from src.bench.runs import run_once
from src.bench.timing import Calls, Timings, interleaved
from src.common.platform import now
from src.tracking import names as keys


def speed(plan: Plan) -> Iterator[Row]:
    """Yield each case with its share of the peak rates; the cases of one network and size take turns."""
    for backbone in plan.backbones:
        for edge in plan.sizes:
            yield from _timed(_cases(backbone, edge, plan.modes), plan, step_figures)


def race(plan: Plan) -> Iterator[Row]:
    """Yield each case with its speed relative to the published program, on the same images and weights."""

    def figures(case: Case, timings: Timings) -> dict[str, float]:
        theirs, ours = timings[PROGRAM]["seconds"], timings[case]["seconds"]
        against = {"program_seconds": theirs, "program_it_per_s": 1 / theirs, "ratio": theirs / ours}
        return {**step_figures(case, timings), **against}

    for backbone, edge in plan.races:
        reference, cases = Case(backbone, edge), _cases(backbone, edge, plan.modes)
        if obstacle := reference.obstacle(open_device(plan)):
            yield from (Row(case.label, note=obstacle) for case in cases)
            continue
        program = Setup.of(reference.config(*plan.overrides)).program()
        yield from _timed(cases, plan, figures, {PROGRAM: program.step})


def batch(plan: Plan) -> Iterator[Row]:
    """Yield each number of pairs, with its speed relative to one pair; the pairs are copies of one."""
    gpu = open_device(plan).type != "cpu"

    def figures(case: Case, timings: Timings) -> dict[str, float]:
        found, pairs = step_figures(case, timings), case.pairs or 1
        found["pairs_it_per_s"] = pairs / timings[case]["seconds"]
        if alone := timings.get(replace(case, pairs=1)):
            found["ratio"] = found["pairs_it_per_s"] * alone["seconds"]
        return found

    for backbone, edge in plan.batches if gpu else plan.batches_on_cpu:
        # A CPU evaluates one pair after another, compiled or not.
        for alone in _cases(backbone, edge, plan.modes if gpu else MODES[:1]):
            yield from _timed([replace(alone, pairs=pairs) for pairs in plan.pairs], plan, figures)


def lightning(plan: Plan) -> Iterator[Row]:
    """Yield the time of a step of a whole run, one logged point included, and of a bare step, taking turns."""
    device = open_device(plan)
    for backbone, edge in plan.loops:
        case, last = Case(backbone, edge), plan.loop_steps - 1
        if obstacle := case.obstacle(device):
            yield Row(case.label, note=obstacle)
            continue
        step = Step(Setup.of(case.config(*plan.overrides)))
        step()
        points = (f"steps={plan.loop_steps}", f"log_every={last}", "logger=csv", "captures=[1.0]", *plan.overrides)
        bare, loop = [], []
        for _ in range(plan.least):
            begun = now(device)
            for _ in range(last):
                step()
            bare.append((now(device) - begun) / last)
            logged = run_once(case.config(*points))[1]
            seconds = {int(point["step"]): point[keys.SECONDS] for point in logged}
            loop.append((seconds[last] - seconds[0]) / last)
        found = statistics.median(bare), statistics.median(loop)
        share = 1 - found[0] / found[1]
        yield Row(case.label, {"bare_seconds": found[0], "loop_seconds": found[1], "share": share})


def _cases(backbone: str, edge: int, modes: Sequence[str]) -> list[Case]:
    return [Case(backbone, edge, precision, mode) for precision in PRECISIONS for mode in modes]


def _timed(
    cases: Sequence[Case],
    plan: Plan,
    figures: Callable[[Case, Timings], dict[str, float]],
    others: Calls | None = None,
) -> Iterator[Row]:
    """Time a step of each case that the machine can run; the cases, and `others` or the peak rates, take turns."""
    device = open_device(plan)
    obstacles = {case: case.obstacle(device) for case in cases}
    calls = {
        case: Step(Setup.of(case.config(*plan.overrides)), case.pairs or 1) for case in cases if not obstacles[case]
    }
    if calls:
        timings = interleaved({**calls, **(others or peak_rate.calls(device))}, plan, device)
    for case in cases:
        values = {} if obstacles[case] else figures(case, timings)
        yield Row(case.label, values, obstacles[case])


def step_figures(case: Case, timings: Timings) -> dict[str, float]:
    """Return what follows from the time of a case's step, also as a share of the peak rates where they were timed.

    GFLOP/s count convolutions as computed directly.
    """
    rate = 1 / timings[case]["seconds"]
    gflops = case.operations * rate / 1e9
    found = {**timings[case], "it_per_s": rate, "mpx_it_per_s": case.megapixels * rate, "gflops": gflops}
    peaks = peak_rate.rates(timings, case.precision)
    return found | {f"share_of_{kind}": gflops / peak for kind, peak in peaks.items()}
