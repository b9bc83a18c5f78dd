"""SSIM against scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from src.evaluation.ssim import ssim, ssim_published


def test_ssim_equals_scikit_images_away_from_the_border() -> None:
    """Torchmetrics averages over the whole map, reflected border included: compare where both see the same pixels."""
    generator = torch.Generator().manual_seed(0)
    content = torch.rand(1, 3, 48, 40, generator=generator)
    image = (content + 0.2 * torch.randn(content.shape, generator=generator)).clamp(0, 1)
    _, ours = structural_similarity_index_measure(image, content, data_range=1.0, return_full_image=True)
    _, theirs = structural_similarity(
        image[0].permute(1, 2, 0).double().numpy(), content[0].permute(1, 2, 0).double().numpy(), data_range=1.0,
        channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True,
    )  # fmt: skip
    np.testing.assert_allclose(ours[0].permute(1, 2, 0)[8:-8, 8:-8], theirs[8:-8, 8:-8], atol=2e-4)
    assert ssim(image, content) == pytest.approx(float(theirs.mean()), abs=0.02)


def test_only_the_published_convention_sees_values_outside_of_the_range() -> None:
    content = torch.rand(1, 3, 48, 40, generator=torch.Generator().manual_seed(0))
    image = content * 3 - 1
    assert ssim(image, content) == ssim(image.clamp(0, 1), content)
    assert ssim_published(image, content) != ssim(image, content)
