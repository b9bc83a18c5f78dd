"""Checkpoints: `last.ckpt` in each run's folder, read by a resume.

Lightning makes one checkpoint of a batch. It is split into one file per run, the same that the run would write alone,
and joined again when the batch resumes. So a run can resume alone or in another batch.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from torch import Tensor

from src.common.errors import InputError, shortened
from src.common.files import atomic_file

CHECKPOINT = "last.ckpt"
LONGEST_REASON = 300  # characters of the error that a checkpoint cannot be used for
FORMAT = 1  # raised by a change that earlier checkpoints cannot be resumed with

Checkpoint = dict[str, Any]


class PairCheckpoints(CheckpointIO):
    """Splits Lightning's checkpoint of a batch when it is saved, and joins the files when it is loaded.

    Args:
        write: receives the sample of the batch and its checkpoint.
        read: returns the checkpoints of all samples, in order.
    """

    def __init__(self, write: Callable[[int, Checkpoint], None], read: Callable[[], Sequence[Checkpoint]]) -> None:
        self.write = write
        self.read = read

    def save_checkpoint(self, checkpoint: Checkpoint, path: Any, storage_options: Any = None) -> None:
        """Save the samples that `storage_options` lists."""
        for sample in storage_options:
            self.write(sample, split(checkpoint, sample))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> Checkpoint:
        """Return the checkpoint of the batch."""
        return join(self.read())

    def remove_checkpoint(self, path: Any) -> None:
        """Lightning keeps no checkpoints of its own here."""
        raise NotImplementedError


def split(checkpoint: Checkpoint, sample: int) -> Checkpoint:
    """Return the checkpoint of one sample; tensors with dimensions are (B, ...)."""
    own = {key: value for key, value in checkpoint.items() if key != "pairs"}
    own["state_dict"] = _samples(checkpoint["state_dict"], sample)
    own["optimizer_states"] = [
        {**each, "state": {key: _samples(state, sample) for key, state in each["state"].items()}}
        for each in checkpoint["optimizer_states"]
    ]
    return own | checkpoint["pairs"][sample]


def join(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """Return single checkpoints of the same step as that of their batch."""
    first = checkpoints[0]
    (optimizer,) = first["optimizer_states"]
    states = {
        key: _joined([each["optimizer_states"][0]["state"][key] for each in checkpoints]) for key in optimizer["state"]
    }
    return first | {
        "state_dict": _joined([each["state_dict"] for each in checkpoints]),
        "optimizer_states": [{**optimizer, "state": states}],
        "pairs": list(checkpoints),
    }


def _samples(state: Mapping[str, Any], sample: int) -> dict[str, Any]:
    # Cloned, because saving a view saves the whole tensor.
    return {name: value[sample : sample + 1].clone() if _batched(value) else value for name, value in state.items()}


def _joined(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        name: torch.cat([each[name] for each in states]) if _batched(value) and len(states) > 1 else value
        for name, value in states[0].items()
    }


def _batched(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 1


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `last.ckpt` of a run, whole or not at all.

    Raises:
        InputError: it cannot be written; the old file is intact.
    """
    with atomic_file(folder / CHECKPOINT) as file:
        torch.save({**checkpoint, "format": FORMAT}, file)


def read(folder: Path) -> Checkpoint | None:
    """Return the checkpoint of a run folder; None where there is none.

    Raises:
        InputError: the file is damaged, or a version with another format wrote it.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if (found := checkpoint.get("format", 1)) != FORMAT:
            raise ValueError(f"it has format {found}, and this version reads {FORMAT}")
    except Exception as error:  # torch raises many types for a damaged file
        raise unusable(folder, error) from None
    return checkpoint


def unusable(folder: Path, error: BaseException) -> InputError:
    """Return the error for a checkpoint that a run cannot go on from."""
    told = " ".join(str(error).split()) or type(error).__name__
    reason = shortened(told, LONGEST_REASON)
    return InputError(
        f"{folder / CHECKPOINT} cannot be used ({reason}); delete it to start this run from the beginning"
    )
