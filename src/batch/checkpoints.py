"""A batch's checkpoint as one for each pair: what the pair would write alone, and can go on from alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from torch import Tensor

Checkpoint = dict[str, Any]


class MemberCheckpoints(CheckpointIO):
    """Takes the checkpoint that Lightning has made of a batch apart when it is saved, and puts it together again.

    Args:
        write: is given the sample of a batch and its checkpoint.
        read: returns the checkpoints of all samples, in their order.
    """

    def __init__(self, write: Callable[[int, Checkpoint], None], read: Callable[[], Sequence[Checkpoint]]) -> None:
        self.write = write
        self.read = read

    def save_checkpoint(self, checkpoint: Checkpoint, path: str | Path, storage_options: Any = None) -> None:
        """Save the samples that `storage_options` lists; each has a path of its own."""
        for sample in storage_options:
            self.write(sample, sample_of(checkpoint, sample))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> Checkpoint:
        """Return what all samples were saved as, as one."""
        return joined(self.read())

    def remove_checkpoint(self, path: str | Path) -> None:
        """Lightning keeps no checkpoints of its own here."""
        raise NotImplementedError


def sample_of(checkpoint: Checkpoint, sample: int) -> Checkpoint:
    """Return the checkpoint of one sample of a batch: tensors of more than a number have it first, (B, ...)."""
    own = {key: value for key, value in checkpoint.items() if key != "members"}
    own["state_dict"] = {name: _row(value, sample) for name, value in checkpoint["state_dict"].items()}
    own["optimizer_states"] = [
        {**each, "state": {part: _rows(state, sample) for part, state in each["state"].items()}}
        for each in checkpoint["optimizer_states"]
    ]
    return own | checkpoint["members"][sample]


def joined(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """Return the checkpoints of single pairs, all of one step, as that of their batch."""
    first = checkpoints[0]
    states = [[each["optimizer_states"][0]["state"][part] for each in checkpoints] for part in _parts(first)]
    optimizer = first["optimizer_states"][0]
    return first | {
        "state_dict": _together([each["state_dict"] for each in checkpoints]),
        "optimizer_states": [{**optimizer, "state": dict(zip(_parts(first), map(_together, states), strict=True))}],
        "members": list(checkpoints),
    }


def _parts(checkpoint: Checkpoint) -> list[int]:
    return list(checkpoint["optimizer_states"][0]["state"])


def _row(value: Tensor, sample: int) -> Tensor:
    return value[sample : sample + 1].clone() if value.dim() > 0 else value  # a view would be saved with all of them


def _rows(state: dict[str, Tensor], sample: int) -> dict[str, Tensor]:
    return {name: _row(value, sample) for name, value in state.items()}


def _together(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {
        name: torch.cat([each[name] for each in states]) if value.dim() > 0 else value
        for name, value in states[0].items()
    }
