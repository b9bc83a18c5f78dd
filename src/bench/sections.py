"""Measure sections of the benchmark, and combine their results with earlier ones."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from pathlib import Path

from src.bench import results
from src.bench.plan import SECTIONS, Plan
from src.bench.results import Results, Row, Session
from src.common.errors import InputError
from src.common.tables import number
from src.config.schema import CONF
from src.tracking import provenance

DOCS = CONF.parent / "docs" / "performance.md"
DATA = CONF.parent / "src" / "assets" / "bench.json"  # the results that DOCS shows
FOLDER = Path("multirun/bench")


def measures() -> dict[str, Callable[[Plan], Iterator[Row]]]:
    """Return the function that measures each of `SECTIONS`."""
    from src.bench import memory, passes, peak_rate, runs, startup, steps

    sections = {"peak_rate": peak_rate.measure, "memory": memory.measure, "startup": startup.measure}
    sections |= {"speed": steps.speed, "race": steps.race, "lightning": steps.lightning, "batch": steps.batch}
    sections |= {"one_pass": passes.one_pass}
    return {**sections, "target": runs.target, "precision": runs.precision}


def choose(asked: Sequence[str]) -> list[str]:
    """Return the sections that `NAME ...` or `sections=NAME,NAME` ask for, in order of measurement; without any, all.

    Raises:
        InputError: an unknown section, or an empty list of sections.
    """
    names = [name for each in asked for name in each.removeprefix("sections=").split(",") if name]
    wrong = [name for name in names if name not in SECTIONS]
    if wrong or (asked and not names):
        problem = f"there is no section {', '.join(wrong)}" if wrong else f"{' '.join(asked)!r} names no section"
        raise InputError(f"{problem}; the sections: {', '.join(SECTIONS)}")
    return [name for name in SECTIONS if name in names or not asked]


def merge(paths: Iterable[Path]) -> Results:
    """Return the results of several files, later ones in place of earlier ones; raises as `results.read`."""
    return reduce(Results.updated, map(results.read, paths), Results())


def open_session(plan: Plan) -> Session:
    """Return the machine, versions and commit that the plan is about to be measured with."""
    from src.bench.cases import open_device
    from src.common.platform import device_name

    device = open_device(plan)
    import torch

    threads = torch.get_num_threads()
    name = device_name(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or threads
    return Session(
        started=provenance.timestamp(),
        device=f"{name}, {threads} threads" if device.type == "cpu" else name,
        cores=cores,
        threads=threads,
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        versions=provenance.versions(),
        commit=provenance.commit(),
        command=provenance.command(),
    )


def measure(plan: Plan, sections: Sequence[str], earlier: Results, out: Path) -> Results:
    """Measure sections one after another; return the results merged into earlier ones.

    The merged results are written to `out` after every row, so that an interruption loses only one row.
    """
    session = open_session(plan)
    rows: tuple[Row, ...] = ()
    for name in sections:
        print(f"{name}: {SECTIONS[name]}", flush=True)
        for row in measures()[name](plan):
            print(f"  {described(row)}", flush=True)
            rows = (*rows, session.sign(name, row))
            earlier.updated(Results((session,), rows)).write(out)
    print(out)
    return earlier.updated(Results((session,), rows))


def described(row: Row) -> str:
    """Return a row as one line of text."""
    figures = [f"{name} {number(value, 4)}" for name, value in row.values.items()]
    note = [row.note if figures else f"not measured: {row.note}"] if row.note else []
    return ", ".join([" ".join(map(str, row.case.values())), *figures, *note])
