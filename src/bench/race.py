"""Our step against the published program's, in turn, with the same pictures and weights."""

from collections.abc import Callable, Iterator

from src.bench.cases import Case, device_of, prepare, program_of, step_of
from src.bench.plan import PRECISIONS, PROGRAM, Plan
from src.bench.results import Measured
from src.bench.speed import pace
from src.bench.timing import interleaved


def measure(plan: Plan) -> Iterator[Measured]:
    """Yield every case of ours with how many times faster it is."""
    device = device_of(plan)
    for backbone, edge in plan.races:
        cases = [Case(backbone, edge, precision, mode) for precision in PRECISIONS for mode in plan.modes]
        obstacles = {case.name: case.obstacle(device) for case in cases}
        reference = Case(backbone, edge)
        if obstacles[reference.name]:
            yield from (Measured(case.label, note=obstacles[reference.name]) for case in cases)
            continue
        calls: dict[str, Callable[[], object]] = {}
        calls[PROGRAM] = program_of(prepare(reference.config(*plan.overrides))).step
        for case in cases:
            if not obstacles[case.name]:
                config = case.config(*plan.overrides)
                calls[case.name] = step_of(config, prepare(config))
        timings = interleaved(calls, plan, device)
        for case in cases:
            if obstacles[case.name]:
                yield Measured(case.label, note=obstacles[case.name])
                continue
            theirs, ours = timings[PROGRAM].seconds, timings[case.name].seconds
            found = {"program_seconds": theirs, "program_it_per_s": 1 / theirs, "ratio": theirs / ours}
            yield Measured(case.label, {**pace(timings[case.name], case), **found})
