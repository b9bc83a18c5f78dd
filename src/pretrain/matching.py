"""The losses that a teacher adds: its activations and its classes, both predicted linearly from the student's."""

import torch.nn.functional as F
from torch import Tensor, nn

from src.pretrain.teacher import Teacher


class Matching(nn.Module):
    """Loss between a student's activations and a teacher's: each predicted linearly, position by position.

    Args:
        teacher: names the taps and their channels.
        channels: channels of the student's taps.
    """

    def __init__(self, teacher: Teacher, channels: dict[str, int]) -> None:
        super().__init__()
        wide = teacher.taps
        self.projections = nn.ModuleDict({tap: nn.Conv2d(channels[tap], wide[tap], 1) for tap in wide})
        for parameter in self.projections.parameters():
            nn.init.zeros_(parameter)  # the loss begins at 1: all unexplained
        # Targets of mean 0 and deviation 1 in each channel, so that weak channels count as much as strong ones.
        self.norms = nn.ModuleDict({tap: nn.BatchNorm2d(wide[tap], affine=False) for tap in wide})

    def forward(self, found: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return for each tap the fraction of the variance of the teacher's activations that is not predicted."""
        return {
            tap: (self.projections[tap](found[tap]).float() - self.norms[tap](targets[tap].float())).square().mean()
            for tap in targets
        }


class OutputsHead(nn.Module):
    """Predict a teacher's class probabilities linearly from the mean of the deepest features over positions.

    The loss is the divergence KL(teacher || student) at temperature 1, in nats (Hinton, Vinyals and Dean 2015).
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(channels, classes)

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Return the mean divergence for features (B, C, H, W) and the teacher's logits (B, classes)."""
        student = self.classifier(features.float().mean((2, 3))).float().log_softmax(1)
        return F.kl_div(student, logits.float().log_softmax(1), reduction="batchmean", log_target=True)
