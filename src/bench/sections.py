"""What the program costs on this machine: `python -m src.bench [SECTION ...] [--readme]`.

Fixed cases, seeded weights, medians of repeats taken in turn; written as JSON, and as the tables of the README. Heavy
libraries are imported once something is measured.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from src.bench import plan as plans
from src.bench import results, table
from src.bench.plan import SECTIONS, Plan
from src.bench.results import Measured, Results, Row, Session
from src.common.allocator import keep_freed
from src.common.errors import InputError, Interrupted
from src.common.tables import number, plain_text
from src.config.schema import CONF
from src.tracking import provenance

README = CONF.parent / "README.md"
CURVES = CONF.parent / "src" / "assets" / "curves.png"
DATA = CONF.parent / "src" / "assets" / "bench.json"  # what the README's tables are made of
FOLDER = Path("multirun/bench")


def measures() -> dict[str, Callable[[Plan], Iterator[Measured]]]:
    """Return what measures each of `SECTIONS`."""
    from src.bench import batch, curves, lightning, memory, precision, race, roof, speed, startup, target

    modules = (roof, speed, race, lightning, batch, memory, target, curves, precision, startup)
    return {module.__name__.rpartition(".")[2]: module.measure for module in modules}


def open_session(plan: Plan) -> Session:
    """Return where and with what the plan is about to be measured."""
    keep_freed()
    import torch

    from src.bench.cases import device_of
    from src.common.platform import device_name, use_threads

    use_threads(None)
    device = device_of(plan)
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


def bench(plan: Plan, sections: Sequence[str], keep: Callable[[Results], None]) -> Results:
    """Measure sections one after the other; return all rows.

    Args:
        plan: what to measure and how often.
        sections: names of `SECTIONS`.
        keep: is given all that was measured so far after every row, as the next may be interrupted.
    """
    session = open_session(plan)
    rows: tuple[Row, ...] = ()
    for name in sections:
        print(f"{name}: {SECTIONS[name]}", flush=True)
        for measured in measures()[name](plan):
            print(f"  {described(measured)}", flush=True)
            rows += results.rows_of(session, name, [measured])
            keep(Results((session,), rows))
    return Results((session,), rows)


def described(measured: Measured) -> str:
    """Return a row as one line for people."""
    figures = [f"{name} {number(value, 4)}" for name, value in measured.values.items()]
    note = [measured.note] if figures else [f"{table.MISSING}: {measured.note}"]
    return ", ".join([" ".join(map(str, measured.case.values())), *figures, *(note if measured.note else [])])


def _chosen(asked: Sequence[str]) -> list[str]:
    names = [name for each in asked for name in each.removeprefix("sections=").split(",") if name]
    if wrong := [name for name in names if name not in SECTIONS]:
        raise InputError(f"there is no section {', '.join(wrong)}; the sections: {', '.join(SECTIONS)}")
    return [name for name in SECTIONS if name in names] or list(SECTIONS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m src.bench",
        description="Measure what the program costs on this machine.",
        epilog="sections:\n" + "\n".join(f"  {name:<10} {what}" for name, what in SECTIONS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="what to measure (default: everything)")
    parser.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="where (default: auto)")
    parser.add_argument("--quick", action="store_true", help="small and few: to see that it works, in seconds")
    parser.add_argument("--eager", action="store_true", help="leave out the compiled cases, half a minute each")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"the JSON (default: {FOLDER}/DATE.json)")
    parser.add_argument(
        "--from", dest="earlier", type=Path, action="append", default=[], metavar="FILE",
        help="JSON of an earlier run of this machine or another: its rows are kept where this one has none; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--readme", action="store_true", help="bring src/assets/bench.json and the README's tables up to date"
    )
    parser.add_argument("--table", action="store_true", help="measure nothing: what --from and --readme have, merged")
    return parser


def _run(args: argparse.Namespace) -> None:
    if args.quick and args.readme:
        raise InputError("--quick and --readme do not go together: figures of a quick run mean nothing")
    sections = _chosen(args.sections)
    earlier = Results()
    for path in [*([DATA] if args.readme else []), *args.earlier]:
        if path in args.earlier and not path.is_file():
            raise InputError(f"--from {path}: no such file")
        earlier = earlier.updated(results.read(path))
    if args.readme:
        table.replaced(README.read_text(), earlier)  # a document without markers is told before the hours of measuring
    if args.table:
        found = earlier
        if args.out:
            found.write(args.out)
    else:
        plan = (plans.quick if args.quick else plans.full)(args.device)
        if args.eager:
            plan = replace(plan, modes=plans.MODES[:1])
        stamp = provenance.timestamp()[:19].replace("T", "_").replace(":", "-")
        out = args.out or FOLDER / f"{stamp}.json"
        found = earlier.updated(bench(plan, sections, lambda rows: earlier.updated(rows).write(out)))
        print(out)
    if args.readme:
        found.write(DATA)
        table.write_readme(README, found)
        if drawn := found.section("curves", found.devices[0]):
            from src.bench import curves

            curves.draw(drawn, CURVES)
    else:
        print(f"\n{table.render(found)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 when all was measured, 2 for bad input, 130 or 143 when a signal ended it."""
    args = _parser().parse_args(arguments)
    try:
        _run(args)
    except InputError as error:
        print(f"error: {plain_text(error)}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Interrupted) as stop:
        print("interrupted; what was measured until now is kept", file=sys.stderr)
        return stop.exit_status if isinstance(stop, Interrupted) else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
