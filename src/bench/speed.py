"""Steps per second by size, network and precision, and their share of what the machine can do."""

from collections.abc import Callable, Iterator

from src.bench import roof
from src.bench.cases import Case, device_of, prepare, step_of
from src.bench.plan import PRECISIONS, Plan
from src.bench.results import Measured
from src.bench.timing import Timing, interleaved


def measure(plan: Plan) -> Iterator[Measured]:
    """Yield every case; those of one network and size are timed in turn, with the roof's calls between them."""
    for backbone in plan.backbones:
        for edge in plan.sizes:
            yield from _side_by_side(
                [Case(backbone, edge, precision, mode) for precision in PRECISIONS for mode in plan.modes], plan
            )


def _side_by_side(cases: list[Case], plan: Plan) -> Iterator[Measured]:
    device = device_of(plan)
    calls: dict[str, Callable[[], object]] = {}
    obstacles: dict[str, str] = {}
    for case in cases:
        if obstacle := case.obstacle(device):
            obstacles[case.name] = obstacle
            continue
        config = case.config(*plan.overrides)
        calls[case.name] = step_of(config, prepare(config))
    if calls:
        timings = interleaved({**calls, **roof.calls(device)}, plan, device)
    for case in cases:
        if case.name in obstacles:
            yield Measured(case.label, note=obstacles[case.name])
            continue
        values = pace(timings[case.name], case)
        for kind, rate in roof.rates(timings, case.precision, device).items():
            values[f"share_of_{kind}"] = values["gflops"] / rate
        yield Measured(case.label, values)


def pace(timing: Timing, case: Case) -> dict[str, float]:
    """Return the figures of a step that took so long."""
    return {
        "seconds": timing.seconds,
        "fastest": timing.fastest,
        "slowest": timing.slowest,
        "repeats": timing.repeats,
        "first": timing.first,
        "it_per_s": 1 / timing.seconds,
        "mpx_it_per_s": case.megapixels / timing.seconds,
        "gflops": case.operations / timing.seconds / 1e9,
    }
