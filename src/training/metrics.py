"""What is measured beside the losses: SSIM, throughput, memory."""

import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from src.tracking.names import CONTENT, PALETTE, STYLE, TOTAL, TV, layer_key
from src.transfer.objective import Terms


def terms_to_metrics(terms: Terms) -> list[dict[str, float]]:
    """Return the values of each sample under their keys, with one transfer from the device."""
    named = {TOTAL: terms.total, CONTENT: terms.content, STYLE: terms.style, PALETTE: terms.palette, TV: terms.tv}
    named |= {layer_key(tap): value for tap, value in terms.layers.items()}
    present = {key: value for key, value in named.items() if value is not None}
    values = torch.stack([value.detach().double() for value in present.values()], 1).tolist()
    return [dict(zip(present, each, strict=True)) for each in values]


def ssim(image: Tensor, content: Tensor) -> float:
    """Return the structural similarity of the clamped image to the content, (1, 3, H, W), data range 1."""
    value = structural_similarity_index_measure(image.clamp(0, 1).float(), content.float(), data_range=1.0)
    assert isinstance(value, Tensor)
    return float(value)


def ssim_published(image: Tensor, content: Tensor) -> float:
    """Return SSIM as the published record computes it: not clamped, data range left out.

    torchmetrics then takes the larger of the two images' ranges; an image beyond [0, 1] widens it and with it the
    constants of SSIM, so the value comes out higher.
    """
    value = structural_similarity_index_measure(image.float(), content.float())
    assert isinstance(value, Tensor)
    return float(value)


@dataclass
class Throughput:
    """Evaluations (one forward and backward pass each) per second of the loop, over all its sizes.

    Captures, logging and checkpoints are left out, as are the first `WARM_UP` evaluations, unless the run has no
    others. Survives a resume: its fields go into the checkpoint.
    """

    WARM_UP = 3

    evaluations: int = 0
    seconds: float = 0.0
    megapixels: float = 0.0
    warm_evaluations: int = 0
    warm_seconds: float = 0.0
    warm_megapixels: float = 0.0
    warmed: int = 0  # evaluations of this process, which warms up anew after a resume

    def add(self, evaluations: int, seconds: float, megapixels: float) -> None:
        """Count one chunk of the loop, at a size."""
        self.evaluations += evaluations
        self.seconds += seconds
        if self.warmed >= self.WARM_UP:
            self.warm_evaluations += evaluations
            self.warm_seconds += seconds
            self.warm_megapixels += evaluations * megapixels
        self.warmed += evaluations
        self.megapixels += evaluations * megapixels

    @property
    def it_per_s(self) -> float:
        """Return evaluations per second; 0 before the first."""
        if self.warm_seconds > 0:
            return self.warm_evaluations / self.warm_seconds
        return self.evaluations / self.seconds if self.seconds > 0 else 0.0

    @property
    def mpx_it_per_s(self) -> float:
        """Return megapixels times evaluations per second, which compares sizes; 0 before the first."""
        if self.warm_seconds > 0:
            return self.warm_megapixels / self.warm_seconds
        return self.megapixels / self.seconds if self.seconds > 0 else 0.0


def reset_peak_memory(device: torch.device) -> None:
    """Start counting anew, so that a run of a sweep does not report its predecessor's peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # not Linux, or not allowed: the peak is then the process's
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib(device: torch.device) -> float:
    """Return peak memory, MiB: allocated on a GPU, resident in a process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
