"""Upload the runs that were tracked offline: `python -m src.sync [FOLDER ...]`.

Plain `wandb sync` is not enough for runs that were interrupted. A killed process may leave its `.wandb`
file cut in the middle of a record; `wandb sync` uploads what is before the cut, prints an error, skips the
later parts of the same run, leaves all of them unsynced, and still exits with 0. It also marks a run as
synced whose rows or images the server refused. So here each run is uploaded by a `wandb sync` of its own
with all its parts, a cut part is replaced by a copy without the incomplete record, and success is judged by
what `wandb sync` printed, logged and marked. The `.wandb` files themselves are never written to.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from src.common.files import is_locked

HEADER, BLOCK = 7, 32 * 1024  # LevelDB's log format: a file header, then blocks of records
NO_KEY = "no W&B API key: run `wandb login` or set WANDB_API_KEY, then start this again"
# By default `wandb sync` retries for more than four minutes (and says nothing) where no server answers.
PATIENCE = {
    "WANDB__GRAPHQL_RETRY_MAX": "3",
    "WANDB__GRAPHQL_TIMEOUT_SECONDS": "30",
    "WANDB__FILE_STREAM_RETRY_MAX": "6",
    "WANDB__FILE_TRANSFER_RETRY_MAX": "6",
}


def complete_length(data: bytes) -> int:
    """Where the last complete record of a `.wandb` file ends; HEADER if there is none."""
    position = end = HEADER
    while position + 7 <= len(data):
        left = BLOCK - position % BLOCK
        if left < 7:  # too short for a record's header: padding
            position += left
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        if kind == 0 or position + 7 + length > len(data):  # zeros that were never filled, or a cut
            break
        position += 7 + length
        if kind in (1, 4):  # 1: a whole record, 2-4: first, middle and last piece of one
            end = position
    return end


def find_unsynced(folders: Iterable[Path]) -> dict[str, list[Path]]:
    """The `.wandb` files below the folders that wait for an upload: run id -> parts, oldest first."""
    found = {file.resolve() for folder in folders for file in folder.rglob("run-*.wandb")}
    runs: dict[str, list[Path]] = {}
    for file in sorted(found, key=lambda file: file.parent.name):  # offline-run-<time>-<id>
        if not file.parent.name.startswith("offline-run-") or marker(file).exists():
            continue
        # A file without a record comes from a run killed at its start; `wandb sync` would choke on it.
        if complete_length(file.read_bytes()) > HEADER:
            runs.setdefault(file.stem.removeprefix("run-"), []).append(file)
    return runs


def marker(file: Path, kind: str = "synced") -> Path:
    """The empty file by which wandb knows that a `.wandb` file was uploaded (see also `syncstate`)."""
    return file.with_name(f"{file.name}.{kind}")


def copy_without_tail(file: Path, length: int, folder: Path) -> Path:
    """Set up a copy of the run directory in `folder` whose `.wandb` file ends at `length`."""
    copy = folder / file.parent.name / file.name
    copy.parent.mkdir(parents=True)
    with file.open("rb") as source:
        copy.write_bytes(source.read(length))
    if (files := file.parent / "files").is_dir():  # media may be large: links to it will do
        shutil.copytree(files, copy.parent / "files", copy_function=os.symlink)
    if (state := marker(file, "syncstate")).exists():
        shutil.copy(state, marker(copy, "syncstate"))
    return copy


def problems(output: str) -> str:
    """The errors in what `wandb sync` printed, as one line; empty if there are none."""
    lines = [line.removeprefix("wandb: ").rstrip() for line in output.splitlines()]  # paths are indented
    # Only how a line begins counts, as names of runs and folders may hold any word. "Failed to export" is
    # about telemetry, and the detailed logs will be gone.
    bad = re.compile(r"Error\b|ERROR(?! Find detailed)|Failed(?! to export)|WARNING .*(Fatal|incomplete)")
    errors = [re.sub(r"^(ERROR|Error:|WARNING) *| Some run data .*", "", x) for x in lines if bad.match(x)]
    return textwrap.shorten("; ".join(dict.fromkeys(errors)), 300, placeholder=" ...")


def lost_files(folder: Path) -> str:
    """Whether files (images, say) were refused: wandb writes that to its log and prints nothing."""
    logs = [log.read_text(errors="replace") for log in (folder / "wandb").rglob("debug-sync*.log")]
    lost = re.findall(r"transfer: upload: failed to upload: ([^\"\\]*)", "".join(logs))
    return textwrap.shorten(f"{len(lost)} file(s) not uploaded: {lost[0]}", 300) if lost else ""


def environment(folder: Path) -> dict[str, str]:
    """The environment of `wandb sync`, whose logs go to `folder` and not into the current directory."""
    ours = {**PATIENCE, **os.environ, "WANDB_DIR": str(folder)}
    for variable in ("WANDB_MODE", "WANDB_SILENT", "WANDB_QUIET"):  # these would hide the errors
        ours.pop(variable, None)
    (folder / "wandb").mkdir()
    for place in ("wandb", ".wandb"):  # settings may be kept where the logs usually are
        if (settings := Path(os.environ.get("WANDB_DIR", "."), place, "settings")).is_file():
            shutil.copy(settings, folder / "wandb")
    return ours


def sync_run(files: Sequence[Path], options: Sequence[str]) -> str:
    """Upload all parts of one run; returns why that failed, or an empty string."""
    with tempfile.TemporaryDirectory(prefix="wandb-sync-") as name:
        folder = Path(name)
        uploads: dict[Path, Path] = {}  # original -> what is uploaded for it
        for number, file in enumerate(files):
            data = file.read_bytes()
            length = complete_length(data)
            uploads[file] = file
            if length < len(data):
                uploads[file] = copy_without_tail(file, length, folder / str(number))
        done = subprocess.run(
            [sys.executable, "-m", "wandb", "sync", *options, *(str(f.parent) for f in uploads.values())],
            env=environment(folder),
            stdin=subprocess.DEVNULL,  # no terminal, no prompt
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        status = f"`wandb sync` ended with exit status {done.returncode}" if done.returncode else ""
        reason = problems(done.stdout.decode(errors="replace")) or status
        refused = lost_files(folder)
        for file, upload in uploads.items():
            if upload != file and marker(upload, "syncstate").exists():
                # Where this part starts on the server: a second try must not move its steps.
                shutil.copy(marker(upload, "syncstate"), marker(file, "syncstate"))
            if not marker(upload).exists():
                reason = reason or "`wandb sync` did not finish it"
            elif refused or "Fatal error" in reason:  # wandb marks these all the same
                marker(upload).unlink()
            elif upload != file:
                marker(file).touch()
        return reason or refused


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 if everything found is uploaded now, else 1."""
    parser = argparse.ArgumentParser("python -m src.sync", description="Upload runs tracked offline to W&B.")
    parser.add_argument("folders", nargs="*", type=Path, help="where to look for runs (default: multirun)")
    parser.add_argument("-p", "--project", help="upload to this project instead of the run's own")
    parser.add_argument("-e", "--entity", help="upload to this user or team instead of your default")
    args = parser.parse_args(arguments)
    for folder in args.folders:
        if not folder.is_dir():
            parser.error(f"no such folder: {folder}")
    options = [f"--{name}={value}" for name in ("project", "entity") if (value := getattr(args, name))]

    runs = find_unsynced(args.folders or [Path("multirun")])
    if not runs:
        print("nothing to sync")
        return 0
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
        good = f"synced {run_id} ({len(files)} part{'s' * (len(files) > 1)})"
        print(f"FAILED {run_id}: {reason}" if reason else good, flush=True)
        if "giving up" in reason or "API key" in reason:
            break  # the server cannot be reached or refuses us: so it will for every other run
    counts["not tried"] = len(runs) - counts.total()
    print(", ".join(f"{n} {what}" for what, n in counts.items() if n))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
