"""Stub until the evaluation branch is merged."""

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure


def ssim(image: Tensor, content: Tensor) -> float:
    return float(structural_similarity_index_measure(image.clamp(0, 1).float(), content.float(), data_range=1.0))


def ssim_published(image: Tensor, content: Tensor) -> float:
    return float(structural_similarity_index_measure(image.float(), content.float()))
