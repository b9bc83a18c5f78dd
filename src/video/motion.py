"""Optical flow between two frames, by OpenCV's DIS or torchvision's RAFT."""

import logging
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from src.common.errors import InputError, first_line
from src.data.sources import fetch
from src.encoders.weights import read_state_dict

log = logging.getLogger(__name__)

# Returns the flow (1, 2, H, W), px, that leads from the pixels of the first image to the same things in the second.
Flow = Callable[[Image.Image, Image.Image], Tensor]

# torchvision's RAFT, trained on FlyingChairs, FlyingThings3D, Sintel, KITTI and HD1K; the name ends in the checksum.
RAFT_URL, RAFT_SHA256 = "https://download.pytorch.org/models/raft_large_C_T_SKHT_V2-ff5fadd5.pth", "ff5fadd5"
DIS_LEAST = 32  # px: shorter sides are padded, because below 16 px OpenCV 5.0 ends the process
RAFT_STRIDE, RAFT_LEAST = 8, 128  # px: of its features; the shortest side that it takes


def flow_estimator(name: str, device: torch.device, mirror: str | None = None) -> Flow:
    """Return the estimator `dis` or `raft`.

    Args:
        name: of the estimator.
        device: where RAFT computes.
        mirror: `mirror=DIR`, whose folder `weights` may hold those of RAFT.

    Raises:
        InputError: RAFT's weights are not on this machine and cannot be downloaded, or do not fit.
    """
    return dis if name == "dis" else Raft(device, mirror)


def dis(source: Image.Image, target: Image.Image) -> Tensor:
    """Return the flow by dense inverse search (Kroeger, Timofte, Dai and Van Gool 2016), medium preset."""
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    width, height = source.size
    more = [(0, max(0, DIS_LEAST - height)), (0, max(0, DIS_LEAST - width))]
    first, second = (np.pad(np.asarray(image.convert("L")), more, mode="edge") for image in (source, target))
    found = estimator.calc(first, second, None)  # type: ignore[call-overload]
    return torch.from_numpy(np.asarray(found, np.float32)[:height, :width]).permute(2, 0, 1)[None].contiguous()


class Raft:
    """RAFT (Teed and Deng 2020), large, with torchvision's weights. Arguments and errors as of `flow_estimator`."""

    def __init__(self, device: torch.device, mirror: str | None = None) -> None:
        from torchvision.models.optical_flow import raft_large

        name = f"weights/{Path(RAFT_URL).name}"
        path = fetch(RAFT_URL, name, RAFT_SHA256, mirror, "; or use video.flow=dis").path
        self.network, self.device = raft_large().eval().to(device), device
        try:
            self.network.load_state_dict(read_state_dict(path))
        except RuntimeError as error:
            raise InputError(f"{path} does not fit torchvision's raft_large: {first_line(error)}") from None

    @torch.no_grad()
    def __call__(self, source: Image.Image, target: Image.Image) -> Tensor:
        """Return the flow of two images, which are padded to sizes that the network takes."""
        first, second = (
            torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None].to(self.device) / 127.5 - 1
            for image in (source, target)
        )
        height, width = first.shape[2:]
        more = [max(-(-side // RAFT_STRIDE) * RAFT_STRIDE, RAFT_LEAST) - side for side in (width, height)]
        padding = (0, more[0], 0, more[1])
        first, second = (torch.nn.functional.pad(each, padding, mode="replicate") for each in (first, second))
        return self.network(first, second)[-1][..., :height, :width].float().cpu()
