"""Measure what the program costs on this machine: `python -m src.bench [SECTION ...] [--docs]`. See --help."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from src.bench import plan as plans
from src.bench import sections, tables
from src.bench.sections import DATA, DOCS, FOLDER
from src.common.errors import InputError, Interrupted
from src.common.tables import plain_text
from src.tracking import provenance


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    listed = "\n".join(f"  {name:<10} {what}" for name, what in plans.SECTIONS.items())
    found = argparse.ArgumentParser(
        "python -m src.bench",
        description="Measure what the program costs on this machine.",
        epilog=f"sections:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("sections", nargs="*", metavar="SECTION", help="what to measure (default: everything)")
    add("--device", choices=("auto", "cpu", "gpu"), default="auto", help="where (default: auto)")
    add("--quick", action="store_true", help="smallest case of each section, to check that all work; under 2 minutes")
    add("--eager", action="store_true", help="skip compiled cases, which take half a minute each")
    add(
        "--budget",
        type=float,
        metavar="SECONDS",
        help=f"longest time for one group of cases (default: {plans.Plan.budget:g})",
    )
    add("--out", type=Path, metavar="FILE", help=f"results as JSON (default: {FOLDER}/DATE.json)")
    add("--from", dest="earlier", type=Path, action="append", default=[], metavar="FILE",
        help="JSON of an earlier run, of any machine; its rows are kept unless measured again; repeatable")  # fmt: skip
    add("--docs", action="store_true", help="update src/assets/bench.json and the tables of docs/performance.md")
    add("--table", action="store_true", help="measure nothing: merge and show the results of --from and --docs")
    return found


def run(args: argparse.Namespace) -> None:
    """Measure or merge results; write them and show their tables."""
    if args.quick and args.docs:
        raise InputError("--quick and --docs do not go together: figures of a quick run mean nothing")
    chosen = sections.choose(args.sections)
    found = sections.merge([*([DATA] if args.docs else []), *args.earlier])
    if args.docs:  # a missing marker is reported before hours of measuring
        tables.update_document(DOCS, found, write=False)
    if not args.table:
        plan = plans.quick(args.device) if args.quick else plans.Plan(args.device)
        stamp = provenance.timestamp()[:19].replace("T", "_").replace(":", "-")
        plan = replace(plan, modes=plans.MODES[:1]) if args.eager else plan
        plan = plan if args.budget is None else replace(plan, budget=args.budget)
        found = sections.measure(plan, chosen, found, args.out or FOLDER / f"{stamp}.json")
    elif args.out:
        found.write(args.out)
    if not args.docs:
        print(f"\n{tables.render(found)}")
        return
    found.write(DATA)
    tables.update_document(DOCS, found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0 if all was measured, 2 for bad input, 130 or 143 after a signal."""
    args = parser().parse_args(arguments)
    try:
        run(args)
    except InputError as error:
        print(f"error: {plain_text(error)}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, Interrupted) as stop:
        print("interrupted; the rows measured so far are saved", file=sys.stderr)
        return stop.exit_status if isinstance(stop, Interrupted) else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
