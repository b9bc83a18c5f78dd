"""What of an evaluation is kept and what is computed anew, by what the machine has free; less is kept where it ends."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from src.common.allocator import give_back
from src.common.errors import InputError
from src.config.schedule import SMALLEST_EDGE
from src.encoders.recomputation import KEPT, Recomputation
from src.training.footprint import Footprint

log = logging.getLogger(__name__)

# What may be taken of what is free: a computer does other things beside, a GPU does not.
SHARE, SHARE_OF_GPU = 0.45, 0.9
# What the C library takes for each byte that is alive: freed memory is kept for the next step (`memory.keep_freed`), in
# pieces that not everything fits into. Measured.
HEAP = 1.3
# A step down that frees less is not worth an evaluation.
WORTH = 0.9
# What the allocators of torch, the C library and NumPy say.
NO_MEMORY = ("not enough memory", "can't allocate memory", "Cannot allocate memory", "CUDA out of memory")

Found = TypeVar("Found")


class Economy:
    """The way one stage is evaluated, and how it came to it.

    In the order of what they cost: everything is kept; the first block is computed anew, as a whole (`checkpointed`) or
    in bands of rows (`tiled`); the first two blocks; and so on. The first blocks are the largest: computing two of five
    anew, in VGG-19, takes a quarter of the forward pass once more, and frees two thirds of the memory.

    Args:
        footprint: of the stage.
        asked: auto | whole | checkpointed | tiled; of the last two, as few blocks as it takes.
        device: where it runs.
        before: what an earlier process of the run noted; it is kept to, but for another way that is asked for.
    """

    def __init__(
        self, footprint: Footprint, asked: str, device: torch.device, before: dict[str, Any] | None = None
    ) -> None:
        self.footprint, self.device = footprint, device
        give_back()
        self.held, self.free = held_bytes(device), free_bytes(device)
        self.stepped_down = list(before["stepped_down"]) if before else []
        ways = ladder(footprint.blocks)
        fitting = [way for way in ways if asked in ("auto", way.strategy)]
        self.recomputed = next((way for way in fitting if self._fits(way)), fitting[-1])
        if before and asked in ("auto", before["strategy"]):
            self.recomputed = Recomputation(before["blocks"], before["strategy"] == "tiled")

    def _fits(self, way: Recomputation) -> bool:
        share = SHARE if self.device.type == "cpu" else SHARE_OF_GPU
        return self._need(self.footprint, way) <= share * self.free

    def _need(self, footprint: Footprint, way: Recomputation) -> float:
        return footprint.need(way) * (HEAP if self.device.type == "cpu" else 1.0)

    @property
    def estimate(self) -> float:
        """Return the peak to be expected, bytes: of the process on a CPU, of what is allocated on a GPU."""
        return self.held + self._need(self.footprint, self.recomputed)

    def noted(self) -> dict[str, Any]:
        """Return what the record keeps."""
        return {
            "strategy": self.recomputed.strategy,
            "blocks": self.recomputed.blocks,
            "estimate_mib": round(self.estimate / 2**20),
            "free_mib": round(self.free / 2**20),
            "stepped_down": self.stepped_down,
        }

    def announce(self) -> None:
        """Say, in one line, what is expected and what is done about it."""
        need, free = self._need(self.footprint, self.recomputed), self.free
        log.info(
            "memory: about %.1f GiB at the peak, %.1f GiB are free: %s",
            self.estimate / 2**30, (self.held + free) / 2**30, self.recomputed.described(),
        )  # fmt: skip
        if need > free:
            log.warning("that is more than is free, and may not fit; edge=%d should", self._fitting_edge())

    def _fitting_edge(self) -> int:
        """Return a long side, px, at which what is free suffices."""
        edge = longest = max(self.footprint.size)
        while edge > SMALLEST_EDGE:
            edge = int(0.95 * edge)
            scale = edge / longest
            if self._need(self.footprint.scaled(scale), self.recomputed) <= self.free:
                break
        return edge

    def step_down(self, error: BaseException) -> bool:
        """Keep less from here on, where an error says that memory has run out.

        Raises:
            InputError: there is no less to keep.
        """
        if not out_of_memory(error):
            return False
        takes = self.footprint.evaluation
        ways = ladder(self.footprint.blocks)
        less = [way for way in ways[ways.index(self.recomputed) + 1 :] if takes(way) < takes(self.recomputed)]
        if not less:
            raise InputError(
                f"memory ran out with the least kept ({self.recomputed.described()}): a smaller edge, fewer layers, "
                f"{'a smaller optimizer.history ' * (self.footprint.optimizer == 'lbfgs')}or a larger machine will do"
            ) from error
        before = self.recomputed
        self.recomputed = next((way for way in less if takes(way) < WORTH * takes(before)), less[-1])
        self.stepped_down.append(before.described())
        log.warning("out of memory with %s; going on with %s", before.described(), self.recomputed.described())
        return True


def ladder(blocks: int) -> list[Recomputation]:
    """Return the ways to evaluate a network of so many blocks, quickest first."""
    return [KEPT, *(Recomputation(first, banded) for first in range(1, blocks + 1) for banded in (False, True))]


def sparingly(attempt: Callable[[], Found], step_down: Callable[[BaseException], bool]) -> Found:
    """Return what an attempt returns, made again for as long as it fails and stepping down helps."""
    while True:
        try:
            return attempt()
        except (RuntimeError, MemoryError) as error:
            if not step_down(error):
                raise
        # only here nothing refers any more to what the attempt had taken
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory has run out, on whichever device."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
    )


def free_bytes(device: torch.device) -> float:
    """Return what is free: of the GPU's memory, or of this machine's, or of what a container may take of it."""
    if device.type == "cuda":
        # what torch holds without using it is free for it
        return float(torch.cuda.mem_get_info(device)[0]) + torch.cuda.memory_reserved(device) - held_bytes(device)
    found = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES"))]
    try:
        entries = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found = [float(entries["MemAvailable"].split()[0]) * 1024]
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        found.append(float(limit) - float(used))
    except (OSError, KeyError, ValueError):  # not Linux, no container, or one without a limit ("max")
        pass
    return min(found)


def held_bytes(device: torch.device) -> float:
    """Return what is taken: allocated on a GPU, resident in this process on a CPU; 0 where that cannot be known."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    try:
        return float(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0.0
