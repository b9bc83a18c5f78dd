"""What links a frame to its neighbours: warped results, weights of their pixels, and the image to start from.

The only place that knows of several frames; the run of a frame is told a start and references as files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from src.config.schema import RunConfig, result_file
from src.data.images import read_image, read_pixels, to_tensor, write_image
from src.ops.flow import consistent, motion_edges, nearest_first, softened, warp
from src.video.motion import Flow

INPUTS = "inputs"  # inside a frame's run folder; deleted when the frame has finished
# Largest mean difference of the channels at which a pixel counts as found again.
ALIKE = 0.15


@dataclass(frozen=True)
class Link:
    """How a frame is linked to another one.

    Attributes:
        flow: (1, 2, H, W) from the frame to the other, px.
        visible: (1, 1, H, W), 1 where a pixel is seen in both frames.
        reliable: (1, 1, H, W), 1 where a pixel is visible and not at an edge of motion.
        found: share of the frame that is found again in the other one.
        repeated: the two frames are identical.
    """

    flow: Tensor
    visible: Tensor
    reliable: Tensor
    found: float
    repeated: bool = False


def link(content: Path, other: Path, flow: Flow) -> Link:
    """Measure the motion between two frames of the content, given as files."""
    frame, earlier = read_image(content), read_image(other)
    if frame.tobytes() == earlier.tobytes():
        everywhere = torch.ones(1, 1, frame.height, frame.width)
        return Link(torch.zeros(1, 2, frame.height, frame.width), everywhere, everywhere, 1.0, repeated=True)
    there, back = flow(frame, earlier), flow(earlier, frame)
    visible = consistent(there, back)
    first, second = to_tensor(frame, frame.size), to_tensor(earlier, earlier.size)
    warped, _ = warp(second, there)
    alike = (first - warped).abs().mean(1, keepdim=True) < ALIKE
    return Link(there, visible, visible * (1 - motion_edges(there)), float((visible * alike).mean()))


def result(folder: Path, config: RunConfig) -> Tensor:
    """Return the result of a frame's run, (1, 3, H, W) in [0, 1]."""
    pixels = read_pixels(folder / result_file(config))
    return pixels.color(pixels.size)


@dataclass(frozen=True)
class Start:
    """What the run of a linked frame is given, as files.

    Attributes:
        init: image to start from.
        references, weights: warped neighbours, and how much their pixels count.
    """

    init: Path
    references: list[Path]
    weights: list[Path]

    @classmethod
    def within(cls, folder: Path, number: int) -> "Start":
        """Return the files in a run's folder, for a number of neighbours."""
        inputs = folder / INPUTS
        names = [(f"reference-{at}.png", f"weight-{at}.png") for at in range(number)]
        return cls(inputs / "start.png", [inputs / one for one, _ in names], [inputs / two for _, two in names])

    @property
    def files(self) -> list[Path]:
        """Return all files."""
        return [self.init, *self.references, *self.weights]

    def write(self, beneath: Tensor, links: Sequence[Link], results: Sequence[Tensor], share: float = 1.0) -> None:
        """Write the files, with 16 bits a channel so that rounding adds no noise.

        At edges of motion, where the flow is vague, a frame starts from the warped neighbour and is free to leave it:
        lines of the content there would stand out.

        Args:
            beneath: (1, 3, H, W), what a frame starts from where it is hidden in the nearest neighbour.
            links: to the neighbours, nearest first.
            results: of the neighbours, (1, 3, H, W) each.
            share: of the nearest neighbour in the start elsewhere.
        """
        warped = [warp(picture, each.flow)[0] for picture, each in zip(results, links, strict=True)]
        for path, image in zip(self.references, warped, strict=True):
            write_image(path, image[0], depth=16)
        weights = nearest_first([softened(each.reliable) for each in links])
        for path, weight in zip(self.weights, weights, strict=True):
            write_image(path, weight[0].expand(3, -1, -1))
        start = torch.lerp(beneath, warped[0], share * softened(links[0].visible))
        write_image(self.init, start[0], depth=16)
