"""Upload what W&B has on disk and its server lacks, with `wandb sync` on complete copies.

That is runs tracked offline, and runs tracked online that were killed or whose server did not take the rest in time.

`wandb sync` alone is not enough. The `.wandb` file of a killed process may end inside a record; `wandb sync` then
prints an error, skips the later parts of the same run and exits with 0. It also marks a run as synced when the server
refused its rows or images. So each run is uploaded on its own, from copies cut after the last complete record, and
success is judged by what `wandb sync` printed and logged. The original files are only read, and marked once uploaded.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

MAGIC = b":W&B"
OFFLINE = "offline-"  # begins the names of the folders of runs tracked offline
UNFINISHED = "unfinished"  # marks an online run until its server has all of it
HEADER, BLOCK = 7, 32 * 1024  # LevelDB's log format: a file header, then blocks of records
# By default `wandb sync` retries silently for more than four minutes where no server answers.
RETRIES = {
    "WANDB__GRAPHQL_RETRY_MAX": "3",
    "WANDB__GRAPHQL_TIMEOUT_SECONDS": "30",
    "WANDB__FILE_STREAM_RETRY_MAX": "6",
    "WANDB__FILE_TRANSFER_RETRY_MAX": "6",
}


def complete_length(data: bytes) -> int:
    """Return where the last complete record of a `.wandb` file ends, `HEADER` without one."""
    position = end = HEADER
    while position + 7 <= len(data):
        left = BLOCK - position % BLOCK
        if left < 7:  # too short for the header of a record: padding
            position += left
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        if kind == 0 or position + 7 + length > len(data):  # zeros never written, or a cut
            break
        position += 7 + length
        if kind in (1, 4):  # 1: a whole record; 2, 3, 4: first, middle and last piece of one
            end = position
    return end


def find_unsynced(folders: Iterable[Path], left_out: Callable[[str], object] = print) -> dict[str, list[Path]]:
    """Return the `.wandb` files below the folders that wait for an upload: run id -> parts, oldest first.

    A part that was tracked online is left out where a later part has arrived: its old summary would replace the newer.

    `left_out` is called with one line for each file that cannot be read or is no W&B file.
    """
    found = {file.resolve() for folder in folders for file in folder.rglob("run-*.wandb")}
    runs: dict[str, list[Path]] = {}
    for file in sorted(found, key=lambda file: file.parent.name.removeprefix(OFFLINE)):  # offline-run-<time>-<id>
        run_id = file.stem.removeprefix("run-")
        online = not file.parent.name.startswith(OFFLINE)
        if marker(file).exists() or (online and not marker(file, UNFINISHED).exists()):
            runs[run_id] = [part for part in runs.get(run_id, []) if part.parent.name.startswith(OFFLINE)]
            continue
        try:
            data = file.read_bytes() if file.is_file() else b"?"
        except OSError as error:
            left_out(f"left out {file}: {error.strerror}")
            continue
        if not data.startswith(MAGIC[: len(data)]):
            left_out(f"left out {file}: not a W&B file; delete it")
        elif complete_length(data) > HEADER:  # without a record: a run killed at its start, nothing to upload
            runs.setdefault(run_id, []).append(file)
    return {run_id: parts for run_id, parts in runs.items() if parts}


def marker(file: Path, kind: str = "synced") -> Path:
    """Return the empty file by which wandb marks an uploaded `.wandb` file, or another one beside it."""
    return file.with_name(f"{file.name}.{kind}")


def copy_complete(file: Path, folder: Path) -> Path:
    """Copy a run directory into `folder`, its `.wandb` file cut after the last complete record, media as links."""
    copy = folder / file.parent.name / file.name
    copy.parent.mkdir(parents=True)
    data = file.read_bytes()
    copy.write_bytes(data[: complete_length(data)])
    if (files := file.parent / "files").is_dir():
        shutil.copytree(files, copy.parent / "files", copy_function=os.symlink)
    if (state := marker(file, "syncstate")).exists():
        shutil.copy(state, marker(copy, "syncstate"))
    return copy


def problems(output: str) -> str:
    """Return the errors in the output of `wandb sync` as one line, empty without any."""
    lines = [line.removeprefix("wandb: ").rstrip() for line in output.splitlines()]  # paths are indented
    # The start of a line decides, as names of runs and folders may hold any word. "Failed to export" is about
    # telemetry, and the detailed logs are deleted.
    bad = re.compile(r"Error\b|ERROR(?! Find detailed)|Failed(?! to export)|WARNING .*(Fatal|incomplete)")
    errors = [re.sub(r"^(ERROR|Error:|WARNING) *| Some run data .*", "", line) for line in lines if bad.match(line)]
    return textwrap.shorten("; ".join(dict.fromkeys(errors)), 300, placeholder=" ...")


def lost_files(folder: Path) -> str:
    """Return whether the server refused files, such as images: wandb logs that and prints nothing."""
    logs = [log.read_text(errors="replace") for log in (folder / "wandb").rglob("debug-sync*.log")]
    lost = re.findall(r"transfer: upload: failed to upload: ([^\"\\]*)", "".join(logs))
    return textwrap.shorten(f"{len(lost)} file(s) not uploaded: {lost[0]}", 300) if lost else ""


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of `wandb sync`, with its logs below `folder`."""
    variables = {**RETRIES, **os.environ, "WANDB_DIR": str(folder)}
    for name in ("WANDB_MODE", "WANDB_SILENT", "WANDB_QUIET"):  # these would hide the errors
        variables.pop(name, None)
    (folder / "wandb").mkdir()
    for place in ("wandb", ".wandb"):  # settings may be kept where the logs usually are
        if (settings := Path(os.environ.get("WANDB_DIR", "."), place, "settings")).is_file():
            shutil.copy(settings, folder / "wandb")
    return variables


def sync_run(files: Sequence[Path], options: Sequence[str]) -> str:
    """Upload all parts of one run; return why that failed, or an empty string."""
    with tempfile.TemporaryDirectory(prefix="wandb-sync-") as name:
        folder = Path(name)
        copies = [copy_complete(file, folder / str(number)) for number, file in enumerate(files)]
        command = [sys.executable, "-m", "wandb", "sync", "--include-online", *options]
        done = subprocess.run(
            [*command, *(str(copy.parent) for copy in copies)],
            env=environment(folder),
            stdin=subprocess.DEVNULL,  # without a terminal wandb does not ask
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        status = f"`wandb sync` ended with exit status {done.returncode}" if done.returncode else ""
        reason = problems(done.stdout.decode(errors="replace")) or status or lost_files(folder)
        for file, copy in zip(files, copies, strict=True):
            if marker(copy, "syncstate").exists():
                # the step at which the server begins this part: a second try must use the same
                shutil.copy(marker(copy, "syncstate"), marker(file, "syncstate"))
            if not marker(copy).exists():
                reason = reason or "`wandb sync` did not finish it"
        if not reason:
            for file in files:
                marker(file).touch()
        return reason
