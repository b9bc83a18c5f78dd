"""A frozen VGG that has seen ImageNet, whose activations a smaller network learns to reproduce."""

import torch
from torch import Tensor, nn

from src.common.errors import InputError
from src.config.schema import Backbone
from src.encoders.registry import VGGSpec, encoder_spec
from src.encoders.vgg import VGG
from src.encoders.weights import build_vgg


def build_teacher(name: str, weights: str, student: VGGSpec) -> tuple[VGG, str]:
    """Return a teacher that computes the activations that the student has too, and the sha256 of its weights.

    Raises:
        InputError: weights that are missing, random or do not fit.
    """
    if weights == "random":
        raise InputError("teacher_weights=random teaches nothing; use trained or a file's path")
    spec = encoder_spec(name)
    assert isinstance(spec, VGGSpec)
    taps = [tap for tap in student.taps if tap in spec.taps]
    return build_vgg(spec, Backbone(name=name, weights=weights, pool="max"), taps)


class Matching(nn.Module):
    """Loss between a student's activations and a teacher's: each predicted linearly, position by position.

    Args:
        teacher: kept out of the module's state, so that checkpoints do not hold it.
        channels: channels of the student's taps; those that the teacher has too are compared.
    """

    def __init__(self, teacher: VGG, channels: dict[str, int]) -> None:
        super().__init__()
        self.taps = [tap for tap in channels if tap in teacher.taps]
        self._teacher = (teacher,)  # in a tuple, torch does not register it
        wide = {tap: teacher.taps[tap].channels for tap in self.taps}
        self.projections = nn.ModuleDict({tap: nn.Conv2d(channels[tap], wide[tap], 1) for tap in self.taps})
        for parameter in self.projections.parameters():
            nn.init.zeros_(parameter)  # the loss begins at 1: all unexplained
        # Targets of mean 0 and deviation 1 in each channel, so that weak channels count as much as strong ones.
        self.norms = nn.ModuleDict({tap: nn.BatchNorm2d(wide[tap], affine=False) for tap in self.taps})

    @torch.no_grad()
    def targets(self, images: Tensor) -> dict[str, Tensor]:
        """Return the teacher's activations (B, C, H, W) of images (B, 3, S, S) in [0, 1]."""
        return self._teacher[0].to(images.device).features(images, self.taps)

    def forward(self, found: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return for each tap the fraction of the variance of the teacher's activations that is not predicted."""
        return {
            tap: (self.projections[tap](found[tap]).float() - self.norms[tap](targets[tap].float())).square().mean()
            for tap in self.taps
        }
