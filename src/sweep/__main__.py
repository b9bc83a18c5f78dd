"""`python -m src.sweep`: work on the queue of a sweep, show its state, make failed jobs available again. See --help."""

import argparse
import sys
import time
from pathlib import Path

from src.cli.errors import plain_errors
from src.cli.help import show
from src.sweep.queue import LEASE, SHORTEST_LEASE, Queue, is_lease


def main() -> None:
    """Run the command."""
    arguments = _parser().parse_args()
    with plain_errors():
        if status := arguments.run(arguments):
            sys.exit(status)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m src.sweep", description=__doc__.partition(". See")[0] + ".")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.add_argument("folder", type=Path, metavar="FOLDER", help="the sweep folder")
        added.set_defaults(run=run)
        return added

    worker = command("worker", _work, "run jobs of a sweep until all have ended, here or elsewhere")
    worker.add_argument("--size", type=_positive, default=1, help="maximum batch size, as for hydra/launcher=batch")
    worker.add_argument("--at-once", type=_positive, help="jobs of a batch that are evaluated together")
    worker.add_argument(
        "--lease",
        type=_lease,
        default=LEASE,
        help="seconds without a heartbeat before other workers take over this worker's jobs (%(default)s)",
    )
    worker.add_argument("--name", help=argparse.SUPPRESS)
    worker.add_argument("--end-with-parent", action="store_true", help=argparse.SUPPRESS)
    status = command("status", _status, "show what is done, running, waiting and failed; status 0 when all is done")
    status.add_argument("--watch", action="store_true", help="show it again every few seconds until all have ended")
    command("retry", _retry, "let failed jobs be claimed again")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"give a number of jobs, 1 or more, not {text}")
    return int(text)


def _lease(text: str) -> float:
    try:
        if is_lease(seconds := float(text)):
            return seconds
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"give a number of seconds, {SHORTEST_LEASE} or more, not {text}")


def _work(arguments: argparse.Namespace) -> int:
    from src.sweep.process import end_with_parent, ignore_time_limit
    from src.sweep.worker import Lease, Worker, unique_name

    ignore_time_limit()
    if arguments.end_with_parent:
        end_with_parent()
    queue = Queue.existing(arguments.folder)
    with Lease(queue, arguments.name or unique_name(), arguments.lease) as lease:
        Worker(lease, arguments.size, arguments.at_once).run()
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from src.sweep.status import Status, seconds_between_looks

    queue = Queue.existing(arguments.folder)
    while True:
        begun = time.monotonic()
        status = Status.of(queue)
        if not show(status.text()) or not arguments.watch or not status.left:
            return 0 if status.done == status.jobs else 1
        time.sleep(seconds_between_looks(time.monotonic() - begun))


def _retry(arguments: argparse.Namespace) -> int:
    queue = Queue.existing(arguments.folder)
    freed = queue.retry()
    print(f"{len(freed)} jobs can be run again" + (": give the command of the sweep again" if freed else ""))
    return 0


if __name__ == "__main__":
    main()
