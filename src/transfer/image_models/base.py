"""Base class of image models: what the parameters of an optimisation mean."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from src.encoders.base import Encoder
from src.ops.ema import Average


class ImageModel(nn.Module, ABC):
    """Parameters and the image that they render.

    Its parameters are all that is learned. Parameters and persistent buffers have the batch as their first dimension.
    Adding a model takes one file with a subclass and a line in `registry.IMAGE_MODELS`.

    Args:
        start: (B, 3, H, W) in [0, 1].
        clamp: put the image back into [0, 1] after every update.
        decay: of the running average of the image that is then the result; 0 keeps none.

    Attributes:
        size: height and width of what is rendered, px.
        parameters_per_pixel, constants_per_pixel: numbers that a model holds, for the memory estimate.
    """

    parameters_per_pixel: ClassVar[float] = 3.0
    constants_per_pixel: ClassVar[float] = 0.0

    def __init__(self, start: Tensor, clamp: bool, decay: float = 0.0) -> None:
        super().__init__()
        self.size = (start.shape[2], start.shape[3])
        self.clamp = clamp
        self.average = Average(decay, start) if decay > 0 else None

    @classmethod
    def build(cls, start: Tensor, encoder: Encoder, clamp: bool, decay: float) -> "ImageModel":
        """Return the model of images (B, 3, H, W) in [0, 1]; overridden where it depends on the encoder."""
        return cls(start, clamp, decay)

    @abstractmethod
    def render(self) -> Tensor:
        """Return the images, (B, 3, H, W), sRGB with [0, 1] as black to white; differentiable."""

    @abstractmethod
    def project(self) -> None:
        """Put every pixel back into [0, 1]."""

    @torch.no_grad()
    def image(self) -> Tensor:
        """Return a copy of the images, detached; values may lie outside [0, 1] where nothing is clamped."""
        return self.render().clone()

    @torch.no_grad()
    def picture(self) -> Tensor:
        """Return the result so far, (B, 3, H, W): the image, or its running average where one is kept.

        It is what is saved and what the next stage starts from.
        """
        return self.image() if self.average is None or not self.average.weight.any() else self.average.image()

    def shown(self, picture: Tensor) -> Tensor:
        """Return what the objective sees of a picture (B, 3, h, w): (B, 3, H, W) of `size`; here the picture itself."""
        return picture

    @torch.no_grad()
    def after_update(self) -> None:
        """Project and add to the running average; call after every optimiser step."""
        if self.clamp:
            self.project()
        if self.average is not None:
            self.average.add(self.image())

    def sample_state(self, sample: int) -> dict[str, Tensor]:
        """Return a copy of one sample's parameters and buffers, (1, ...) each."""
        return {name: value[sample : sample + 1].clone() for name, value in self.state_dict().items()}

    @torch.no_grad()
    def load_sample_state(self, sample: int, state: dict[str, Tensor]) -> None:
        """Put back what `sample_state` returned."""
        for name, value in self.state_dict().items():
            value[sample : sample + 1].copy_(state[name])

    def keep_samples(self, samples: Sequence[int], optimizer_state: Mapping[Any, dict[str, Any]]) -> None:
        """Remove all samples but these from the batch, and from the optimiser's state."""
        chosen = list(samples)
        for parameter in self.parameters():
            parameter.data, parameter.grad = parameter.data[chosen], None
            moments = optimizer_state.get(parameter, {})
            moments |= {name: value[chosen] for name, value in moments.items() if value.dim() > 0}
        persistent = self.state_dict(keep_vars=True)
        for name, buffer in self.named_buffers():
            if name in persistent:
                buffer.data = buffer.data[chosen]
