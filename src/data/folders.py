"""Folders of pictures as training data."""

import itertools
import logging
import os
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from src.common.errors import OTHER_FOLDER, InputError
from src.common.files import expanded
from src.data.images import read_image, to_tensor
from src.data.sources import PICTURE_SUFFIXES

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")


def find_pictures(images: str | Path, results: Path | None = None) -> list[Path]:
    """Return the picture files of a folder and its subfolders, sorted; pipes and broken links are skipped.

    Args:
        images: the folder.
        results: a folder that may lie inside it, whose pictures do not count.

    Raises:
        InputError: there is no such folder, it has fewer than two pictures, or it is the folder of results itself.
    """
    folder = expanded(images)
    if not os.path.isdir(folder):  # noqa: PTH112  Path.is_dir raises for a name that is too long
        raise InputError(f"images={folder}: no such folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())
    if results is not None:
        root, inside = folder.resolve(), results.resolve()
        if inside == root:
            raise InputError(f"images={images} is the folder of the results; {OTHER_FOLDER}")
        if inside.is_relative_to(root):
            found = [path for path in found if not path.is_relative_to(folder / inside.relative_to(root))]
    return _enough(found)


def read_pictures(paths: list[Path], edge: int) -> list[Tensor]:
    """Return pictures as bytes, (1, 3, H, W) each, the short side at most `edge` px.

    Those that cannot be read are left out with a warning.

    Raises:
        InputError: fewer than two of them can be read.
    """
    found = []
    for path in paths:
        try:
            image = read_image(path)
        except InputError as error:
            log.warning("left out: %s", error)
            continue
        scale = min(1.0, edge / min(image.size))
        size = (max(2, round(image.width * scale)), max(2, round(image.height * scale)))
        found.append((to_tensor(image, size) * 255).round().byte())
    return _enough(found)


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Return one result name per file, unique regardless of case.

    The name is the file's stem; its full name where the stem is ambiguous (`a.jpg` and `a.png`); with a number appended
    where several folders hold a file of that name.
    """
    stems = Counter(path.stem.casefold() for path in paths) + Counter({path.name.casefold() for path in paths})
    names: dict[str, str] = {}
    for path in paths:
        name = path.stem if stems[path.stem.casefold()] == 1 else path.name
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        free = next(each for each in itertools.chain([name], numbered) if each.casefold() not in names)
        names[free.casefold()] = free
    return list(names.values())


def _enough(pictures: list) -> list:
    if len(pictures) < 2:
        raise InputError(f"images=FOLDER needs two or more readable pictures; found {len(pictures)}")
    return pictures


def shuffled(count: int, batch_size: int, number: int, seed: int) -> list[int]:
    """Return the indices of the pictures of batch `number`: batches are slices of the shuffled epochs in a row."""
    places = torch.arange(number * batch_size, (number + 1) * batch_size)
    orders = {
        int(epoch): torch.randperm(count, generator=torch.Generator().manual_seed(seed + 7919 * int(epoch)))
        for epoch in (places // count).unique()
    }
    return [int(orders[int(place) // count][place % count]) for place in places]


def batches_from(batches: Dataset[Batch], first: int, device: torch.device) -> Iterable[Batch]:
    """Return the batches from number `first` on, without end.

    For a GPU they are made by other processes, one for each thread that this one may use; for a CPU by this one.

    Args:
        batches: returns a batch by its number.
        first: of the batches.
        device: where they are used.
    """
    numbers = itertools.count(first)
    if device.type == "cpu":
        return map(batches.__getitem__, numbers)
    return DataLoader(
        batches,
        batch_size=None,
        sampler=numbers,
        num_workers=torch.get_num_threads(),
        worker_init_fn=_leave_signals_to_parent,
    )


def _leave_signals_to_parent(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # how the parent stops a worker that does not end
