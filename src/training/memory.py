"""Memory of a run: the checkpointing strategy that fits, less when memory runs out, and what was used at the peak."""

import gc
import itertools
import logging
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from src.common.errors import InputError
from src.config.schedule import SMALLEST_EDGE, halvings
from src.config.schema import RunConfig
from src.encoders.base import BlockMemory, Encoder
from src.encoders.checkpointing import BAND_BYTES, KEEP_ALL, Checkpointing
from src.encoders.registry import read_taps
from src.transfer.image_models.registry import image_model
from src.transfer.objective import used_taps
from src.transfer.terms.patches import PatchTerm
from src.transfer.terms.registry import style_term

log = logging.getLogger(__name__)

# Fraction of the free memory that may be planned for: other programs use a computer's memory too, hardly a GPU's. An
# Apple GPU shares the computer's.
SHARE, SHARE_OF_GPU = 0.45, 0.9
# A further step down has to free at least a tenth.
WORTHWHILE = 0.9
# What the allocators of torch, the C library and NumPy say.
NO_MEMORY = (
    *("not enough memory", "can't allocate memory", "Cannot allocate memory"),
    *("CUDA out of memory", "MPS backend out of memory"),
)

Result = TypeVar("Result")


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of a stage, estimated from its configuration.

    The arithmetic counts the tensors that live at the same time, block by block, forward and backward. Constants of
    libraries are measured; `python -m src.bench memory` compares estimate and peak.

    Args:
        config: the run's options.
        encoder: the network in use.
        size: height and width of the result, px.
        style_pixels: of all style images.
        value_bytes: size of a pixel's value.
        regions: of masks, each of which is compared by itself.
    """

    config: RunConfig
    encoder: Encoder
    size: tuple[int, int]
    style_pixels: int
    value_bytes: int = 4
    regions: int = 1

    # All measured.
    LATER = 0.25 * 2**30  # bytes of libraries and buffers that arrive after the estimate is made
    LATER_ON_GPU = 2**24  # the same where only tensors count
    SSIM = 240  # bytes per pixel of the maps that SSIM computes
    SORTING = 132  # bytes per pixel while the palette term sorts
    SORTED = 150  # values per four pixels that the palette term keeps for its gradient
    REGION = 0.45  # memory of the palette of a region over that of the whole
    HEAP = 1.05  # the heap's size over that of the tensors in it

    @property
    def pixels(self) -> int:
        """Return the pixels of the result."""
        return self.size[0] * self.size[1]

    @property
    def areas(self) -> float:
        """Return the area of all sizes evaluated at once, of which the result's own counts 1."""
        return sum(0.25**number for number in range(halvings(self.config, max(self.size)) + 1))

    @property
    def blocks(self) -> int:
        """Return the number of blocks that run."""
        return self.encoder.depth(self.encoder.taps)

    def peak(self, checkpointing: Checkpointing, on_cpu: bool = True) -> float:
        """Return the peak of a stage, bytes, above what the process holds before it."""
        heap, later = (self.HEAP, self.LATER) if on_cpu else (1.0, self.LATER_ON_GPU)
        return heap * (later + self._kept + max(self.areas * self.evaluation(checkpointing), self.SSIM * self.pixels))

    @property
    def _feature_bytes(self) -> int:
        return self.encoder.compute_dtype.itemsize if self.encoder.compute_dtype else self.value_bytes

    @property
    def _kept(self) -> float:
        """Images, parameters, optimiser state and targets: what a stage holds from beginning to end."""
        options, style = self.config, self.style_pixels
        model = image_model(options)
        values = self.pixels * model.parameters_per_pixel
        state = 2 * options.optimizer.history + 10 if options.optimizer.name == "lbfgs" else 4
        copies = values + self.pixels * (model.constants_per_pixel + (9 if options.schedule.average else 0))
        copies += self.pixels * (4 if options.reference.images else 0)
        kept = self.value_bytes * (3 * (2 * self.pixels + style) + values * (2 + state) + copies)
        if options.loss.palette > 0:
            kept += self._palettes * self.SORTED / 4 * self.value_bytes * self.pixels
        taps = [self.encoder.taps[tap] for tap in read_taps(options)[0] if tap in self.encoder.taps]
        read = list(itertools.product(map(style_term, options.loss.terms), taps))
        if options.loss.patches > 0:
            read += [(PatchTerm, tap) for tap in taps if tap.stride > 1]
        values = sum(term.kept_values(tap, self.pixels, style) for term, tap in read)
        return kept + self.areas * self.value_bytes * self.regions * values

    @property
    def _palettes(self) -> float:
        """Return the memory of the palettes of all regions as a multiple of that of a palette without masks."""
        return max(1.0, self.REGION * self.regions)

    @cached_property
    def _blocks(self) -> list[BlockMemory]:
        """Sizes of the blocks, bytes."""
        each = self.pixels * self._feature_bytes
        sizes = [self.encoder.block_memory(block) for block in range(1, self.blocks + 1)]
        if self.encoder.swag == "paper":  # exponentials and their quotient, of each tap that is read
            for tap in {*used_taps(self.config)} & self.encoder.taps.keys():
                info = self.encoder.taps[tap]
                size = sizes[info.block - 1]
                sizes[info.block - 1] = size._replace(kept=size.kept + 2 * info.channels / info.stride**2)
        return [BlockMemory(*(each * values for values in size)) for size in sizes]

    def evaluation(self, checkpointing: Checkpointing) -> float:
        """Return the peak of one forward and backward pass, bytes."""
        kept, peak = 0.0, 0.0
        held: list[float] = []
        for block, size in enumerate(self._blocks, 1):
            recomputed = block <= checkpointing.blocks
            share = _band_share(size, checkpointing) if recomputed else 1.0
            passing = (3 * share if recomputed else 1) * size.layer
            peak = max(peak, kept + passing + size.output)
            held.append(size.output + (0 if recomputed else size.kept))
            kept += held[-1]
        if self.config.loss.palette > 0:
            peak = max(peak, kept + self.SORTING * self.pixels)
            kept += self._palettes * (12 if checkpointing.blocks else 12 * self.SORTED / 4) * self.pixels
        for block in range(self.blocks, 0, -1):
            recomputed, size = block <= checkpointing.blocks, self._blocks[block - 1]
            work = 4 * size.layer
            if recomputed:
                work = _band_share(size, checkpointing) * (work + size.kept)
            going = self._blocks[block - 2].output if block > 1 else 3 * self.value_bytes * self.pixels
            peak = max(peak, kept + size.output + going + work)
            kept -= held[block - 1]
        return peak + 12 * self.value_bytes * self.pixels


def _band_share(size: BlockMemory, checkpointing: Checkpointing) -> float:
    """Return the share of a recomputed block's rows that are in memory at once."""
    return min(1.0, 1.15 * BAND_BYTES / size.layer) if checkpointing.banded else 1.0


class MemoryBudget:
    """Chooses the checkpointing of a stage by the free memory, and reduces it where memory runs out.

    From fastest to smallest: all activations are kept; block 1 is recomputed as a whole (`checkpointed`) or in bands of
    rows (`tiled`); blocks 1 and 2; and so on. The first blocks are the largest: recomputing two of VGG-19's five
    repeats a quarter of the forward pass and frees two thirds of the memory.

    Args:
        estimate: of the stage.
        asked: auto | whole | checkpointed | tiled; the last two with as few recomputed blocks as fit.
        device: where the run takes place.
        before: what `summary` returned in an earlier process of the run; kept unless another strategy is asked for.
    """

    def __init__(
        self, estimate: MemoryEstimate, asked: str, device: torch.device, before: dict[str, Any] | None = None
    ) -> None:
        self.estimate, self.device = estimate, device
        self.held, self.free = held_bytes(device), free_bytes(device)
        self.stepped_down: list[str] = list(before["stepped_down"]) if before else []
        choices = [each for each in self._strategies if asked in ("auto", each.strategy)]
        if not choices:
            raise InputError(
                f"trainer.memory={asked}: only VGGs run in bands of rows, and none with backbone.swag=paper, which "
                "needs whole layers; use trainer.memory=checkpointed or auto"
            )
        limit = self.free * (SHARE_OF_GPU if device.type == "cuda" else SHARE)
        fitting = (each for each in choices if estimate.peak(each, self._on_cpu) <= limit)
        self.checkpointing = next(fitting, choices[-1])
        if before and asked in ("auto", before["strategy"]):
            self.checkpointing = Checkpointing(before["blocks"], before["strategy"] == "tiled")

    @property
    def _strategies(self) -> list[Checkpointing]:
        return strategies(self.estimate.blocks, self.estimate.encoder.banded)

    @property
    def _on_cpu(self) -> bool:
        return self.device.type == "cpu"

    @property
    def expected(self) -> float:
        """Return the expected peak, bytes: of the process on a CPU, of allocated memory on a GPU."""
        return self.held + self.estimate.peak(self.checkpointing, self._on_cpu)

    def summary(self) -> dict[str, Any]:
        """Return the strategy and the estimate as `record.memory` keeps them."""
        return {
            "strategy": self.checkpointing.strategy,
            "blocks": self.checkpointing.blocks,
            "estimate_mib": round(self.expected / 2**20),
            "free_mib": round(self.free / 2**20),
            "stepped_down": self.stepped_down,
        }

    def announce(self) -> None:
        """Log the expected peak, the free memory and the strategy in one line."""
        free, expected = (self.held + self.free) / 2**30, self.expected / 2**30
        strategy, peak = self.checkpointing.describe(), self.estimate.peak(self.checkpointing, self._on_cpu) / 2**30
        # what is free and held differs from job to job of a sweep, which says this once
        same = {"repeats": f"memory: {peak:.1f} GiB, {strategy}"}
        log.info("memory: %.1f GiB expected, %.1f GiB free: %s", expected, free, strategy, extra=same)
        if expected > free:
            log.warning(
                "the expected peak exceeds the free memory and the run may fail; try edge=%d", self._fitting_edge()
            )

    def _fitting_edge(self) -> int:
        """Return a long side, px, whose expected peak is below the free memory."""
        whole = max(self.estimate.size)
        edge = whole
        while edge > SMALLEST_EDGE:
            edge = int(0.95 * edge)
            height, width = (int(side * edge / whole) for side in self.estimate.size)
            style = int(self.estimate.style_pixels * (edge / whole) ** 2)
            smaller = replace(self.estimate, size=(height, width), style_pixels=style)
            if smaller.peak(self.checkpointing, self._on_cpu) <= self.free:
                break
        return edge

    def step_down(self, error: BaseException) -> bool:
        """Reduce the memory of an evaluation after an out-of-memory error; return False for any other error.

        Raises:
            InputError: nothing can be reduced further.
        """
        if not out_of_memory(error):
            return False
        takes, before = self.estimate.evaluation, self.checkpointing
        ways = self._strategies
        less = [each for each in ways[ways.index(before) + 1 :] if takes(each) < takes(before)]
        if not less:
            history = "a smaller optimizer.history, " if self.estimate.config.optimizer.name == "lbfgs" else ""
            raise InputError(
                f"out of memory even with trainer.memory={before.describe()}: use a smaller edge, fewer layers, "
                f"{history}or a machine with more memory"
            ) from error
        self.checkpointing = next((each for each in less if takes(each) < WORTHWHILE * takes(before)), less[-1])
        self.stepped_down.append(before.describe())
        log.warning(
            "out of memory with trainer.memory=%s; continuing with %s", before.describe(), self.checkpointing.describe()
        )
        return True


def strategies(blocks: int, banded: bool = True) -> list[Checkpointing]:
    """Return the ways to evaluate a network of so many blocks, fastest first; in bands of rows where it can."""
    ways = (False, True) if banded else (False,)
    return [KEEP_ALL, *(Checkpointing(first, way) for first in range(1, blocks + 1) for way in ways)]


def retry_smaller(
    attempt: Callable[[], Result], step_down: Callable[[BaseException], bool], device: torch.device
) -> Result:
    """Return the result of an attempt, repeated with less memory for as long as it runs out and `step_down` helps."""
    while True:
        try:
            return attempt()
        except (RuntimeError, MemoryError) as error:
            if not step_down(error):
                raise
        # Outside of the handler: the error's traceback holds the memory that is to be freed.
        empty_cache(device)


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory has run out, on any device."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
    )


def empty_cache(device: torch.device) -> None:
    """Free objects in reference cycles, such as Lightning's trainers, and return cached memory to a GPU."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def free_bytes(device: torch.device) -> float:
    """Return the free memory, bytes: of the GPU, or of this machine within the limit of its container."""
    if device.type == "cuda":
        # Memory that torch reserved without using it is free for torch.
        return float(torch.cuda.mem_get_info(device)[0]) + torch.cuda.memory_reserved(device) - held_bytes(device)
    try:
        free = _entries(Path("/proc/meminfo"), ":")["MemAvailable"] * 1024
    except (OSError, KeyError, ValueError):  # not Linux; macOS tells only how much memory there is in all
        pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
        free = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf(pages))
    for group, (limit, used, cache) in _control_groups():
        with suppress(OSError, KeyError, ValueError):  # no such group, or one without a limit ("max")
            left = float((group / limit).read_text()) - float((group / used).read_text())
            # The page cache counts as used, and the kernel frees it when a program asks for memory.
            free = min(free, left + _entries(group / "memory.stat", " ")[cache])
    return free


def _control_groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Yield the control groups of this process up to the root, each with the names of its limit, use and page cache.

    A limit may be on any of them: a container's is on the root that it sees, Slurm's and systemd's are on inner groups.
    """
    root, lines = Path("/sys/fs/cgroup"), ["0::/"]
    with suppress(OSError):  # not Linux
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        inner = Path(path.lstrip("/"))
        for group in (inner, *inner.parents):
            if not controllers:  # version 2
                yield root / group, ("memory.max", "memory.current", "inactive_file")
            elif controllers == "memory":  # version 1
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                yield root / "memory" / group, names


def _entries(path: Path, separator: str) -> dict[str, float]:
    lines = (line.partition(separator) for line in path.read_text().splitlines())
    return {name: float(value.split()[0]) for name, _, value in lines}


def held_bytes(device: torch.device) -> float:
    """Return the memory in use, bytes: allocated on a GPU, resident in this process on a CPU; 0 where unknown."""
    if device.type == "cuda":
        return float(torch.cuda.memory_allocated(device))
    try:
        return float(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0.0


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak, so that a run of a sweep does not report an earlier run's."""
    if device.type == "cuda":
        torch.cuda.init()  # without it, resetting fails in a process that has not used the GPU yet
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # not Linux, or not permitted: the peak is then that of the process
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib(device: torch.device) -> float:
    """Return the peak memory, MiB: allocated on a GPU, resident in this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
