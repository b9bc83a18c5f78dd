"""Upload the runs that W&B has on disk and its server lacks: `python -m src.sync [FOLDER ...]`."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from src.common.files import is_locked
from src.tracking.sync import find_unsynced, sync_run

NO_KEY = "no W&B API key: run `wandb login` or set WANDB_API_KEY, then start this again"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if something could not be read or uploaded, else 0.

    Runs still in progress are skipped.
    """
    parser = argparse.ArgumentParser("python -m src.sync", description="Upload runs to W&B that it does not have.")
    parser.add_argument("folders", nargs="*", type=Path, help="where to look for runs (default: multirun)")
    parser.add_argument("-p", "--project", help="upload to this project instead of the run's own")
    parser.add_argument("-e", "--entity", help="upload to this user or team instead of your default")
    args = parser.parse_args(arguments)
    for folder in args.folders:
        if not folder.is_dir():
            parser.error(f"no such folder: {folder}")
    options = [f"--{name}={value}" for name in ("project", "entity") if (value := getattr(args, name))]

    damaged: list[str] = []
    runs = find_unsynced(args.folders or [Path("multirun")], damaged.append)
    print(*damaged, sep="\n", end="\n" * bool(damaged))
    counts: Counter[str] = Counter()
    for run_id, files in runs.items():
        if any(is_locked(file.parents[2]) for file in files):
            counts["still running"] += 1
            print(f"skipped {run_id}: still running", flush=True)
            continue
        reason = sync_run(files, options)
        if "No API key" in reason:
            print(NO_KEY)
            return 1
        counts["failed" if reason else "synced"] += 1
        synced = f"synced {run_id} ({len(files)} part{'s' * (len(files) > 1)})"
        print(f"FAILED {run_id}: {reason}" if reason else synced, flush=True)
        if "giving up" in reason or "API key" in reason:
            break  # no other run would reach the server either
    counts["not tried"] = len(runs) - counts.total()
    print(", ".join(f"{n} {what}" for what, n in counts.items() if n) or "nothing to sync")
    return 1 if counts["failed"] or damaged else 0


if __name__ == "__main__":
    sys.exit(main())
