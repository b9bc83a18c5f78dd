"""Smoothing of activations for networks with sparse, peaky ones (Wang, Li and Vasconcelos 2021).

"Rethinking and improving the robustness of image style transfer" (SWAG): the deep activations of a ResNet are zero
nearly everywhere and large in a few places, which then alone make up Gram matrices and distances.
"""

from torch import Tensor

from src.ops.gram import at_least_float32

# What the authors' released program multiplies the last two of five stages by, where its softmax is commented out.
RELEASED_FACTOR = 1e-3
RELEASED_FROM = 4


def softmax_activation(features: Tensor) -> Tensor:
    """Return exp(F) over its mean over all channels and positions of a sample, (B, C, H, W).

    The paper (eq. 9) divides by the sum. The mean makes the result independent of the number of positions, in which
    the style image may differ; losses relative to the style's energy are the same.
    """
    flat = at_least_float32(features).flatten(1)
    return (flat.softmax(1) * flat.shape[1]).view_as(features)


def released_activation(features: Tensor, block: int) -> Tensor:
    """Return features as in the authors' released program: multiplied by 0.001 in stages 4 and 5 (`block`)."""
    return features * RELEASED_FACTOR if block >= RELEASED_FROM else features
