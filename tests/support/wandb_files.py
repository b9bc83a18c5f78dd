"""Read the `.wandb` file of an offline run (or of an online one).

The file is a LevelDB log (a 7-byte header, then 32 KiB blocks of records with checksum, length and type) of
protobuf messages. An incomplete last record, left by a killed process, is skipped.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEADER, BLOCK, RECORD_HEADER = 7, 32 * 1024, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class OfflineRun:
    """One `.wandb` file: one run, or one part of a run that was resumed."""

    run_id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    project: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None  # None: the run did not finish


def find_runs(folder: str | Path) -> list[Path]:
    """Return the run directories of wandb below a folder, oldest first."""
    found = {file.parent for file in Path(folder).rglob("run-*.wandb") if not file.parent.is_symlink()}
    return sorted(found, key=lambda path: (path.name.removeprefix("offline-"), path))


def begun(folder: str | Path) -> bool:
    """Whether W&B has written to disk which run it is; a process killed in its first second leaves an empty file."""
    return any(load(path).run_id for path in find_runs(folder))


def load(path: str | Path) -> OfflineRun:
    """Read a `.wandb` file, or the only one in a run directory."""
    path = Path(path)
    if path.is_dir():
        (path,) = path.glob("run-*.wandb")
    run = OfflineRun()
    for record in _records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.run_id, run.name = record.run.run_id, record.run.display_name
            run.group, run.job_type = record.run.run_group, record.run.job_type
            run.project, run.tags = record.run.project, list(record.run.tags)
            _update(run.config, record.run.config)
        elif kind == "config":
            _update(run.config, record.config)
        elif kind == "history":
            run.history.append({_name(item): json.loads(item.value_json) for item in record.history.item})
        elif kind == "summary":
            _update(run.summary, record.summary)
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def _name(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def _update(values: dict[str, Any], change: Any) -> None:
    for item in change.update:
        values[_name(item)] = json.loads(item.value_json)
    for item in change.remove:
        values.pop(_name(item), None)


def _records(path: Path) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2  # imported late: it takes a second

    messages: Any = wandb_internal_pb2  # untyped: it chooses among generated modules
    for message in _messages(path.read_bytes()):
        record = messages.Record()
        record.ParseFromString(message)
        yield record


def _messages(data: bytes) -> Iterator[bytes]:
    """Yield the payloads of the complete records."""
    if data[:4] != b":W&B":
        if len(data) >= HEADER:
            raise ValueError("not a .wandb file")
        return
    position, message = HEADER, b""
    while position + RECORD_HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < RECORD_HEADER:
            position += left
            continue
        _checksum, length, kind = struct.unpack_from("<IHB", data, position)
        position += RECORD_HEADER
        if kind not in (FULL, FIRST, MIDDLE, LAST) or position + length > len(data):
            return
        piece = data[position : position + length]
        position += length
        message = piece if kind in (FULL, FIRST) else message + piece
        if kind in (FULL, LAST):
            yield message
