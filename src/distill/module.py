"""Lightning module that trains a feed-forward network by the objective of a run."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.distill.config import DistillConfig
from src.feedforward.network import StyleNetwork
from src.tracking import names
from src.training.networks import NetworkModule
from src.transfer.objective import Losses, Objective
from src.transfer.terms.base import Inputs

CONSISTENCY = "loss/consistency"


class DistillModule(NetworkModule):
    """Minimise the mean over photographs of the objective that a run minimises for one (Johnson et al. 2016).

    The crops of a batch take the styles in turn. The encoder and the targets are not registered, so checkpoints hold
    the network and its optimiser alone.

    Args:
        options: of the training.
        network: to train.
        objectives: one for each style, for crops of the training's size.
        reduced: compute the convolutions of the network in bf16; its weights stay in float32.
    """

    shown = names.TOTAL
    objectives: Sequence[Objective]

    def __init__(
        self, options: DistillConfig, network: StyleNetwork, objectives: Sequence[Objective], reduced: bool = False
    ) -> None:
        super().__init__(options)
        self.reduced = reduced
        self.network = network.to(memory_format=torch.channels_last)
        self.objectives = objectives

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.network.parameters(), lr=self.options.lr, betas=(0.9, 0.99))

    def training_step(self, photographs: Tensor, index: int) -> None:
        """Take one optimiser step on a batch of crops (B, 3, S, S) in [0, 1]."""
        optimizer: Any = self.optimizers()
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate(self.global_step)
        styles = (self.batches * len(photographs) + torch.arange(len(photographs))) % len(self.objectives)
        shares = F.one_hot(styles, len(self.objectives)).to(photographs)
        painted = self._painted(photographs, shares)
        losses = batch_losses([self.objectives[style] for style in styles.tolist()], photographs, painted)
        total = losses.total.mean()
        self.latest = {names.TOTAL: total.detach()}
        self.latest |= {names.loss_key(name): value.total.detach().mean() for name, value in losses.terms.items()}
        if self.options.consistency:
            noisy = (photographs + self.options.noise * self._noise(photographs)).clamp(0, 1)
            difference = F.mse_loss(self._painted(noisy, shares), painted)
            self.latest[CONSISTENCY] = difference.detach()
            total = total + self.options.consistency * difference
        optimizer.zero_grad()
        self.manual_backward(total)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip)
        optimizer.step()
        self.batches += 1

    def _painted(self, photographs: Tensor, shares: Tensor) -> Tensor:
        with torch.autocast(photographs.device.type, torch.bfloat16, enabled=self.reduced):
            return self.network(photographs, shares).float()

    def _noise(self, like: Tensor) -> Tensor:
        """Return Gaussian noise of a tensor's shape that depends only on the seed and the number of the batch."""
        generator = torch.Generator().manual_seed(self.options.seed * 1_000_003 + self.batches)
        return torch.randn(like.shape, generator=generator).to(like)


def batch_losses(objectives: Sequence[Objective], contents: Tensor, images: Tensor) -> Losses:
    """Return the losses of images, each for its own content and style, (B,).

    Args:
        objectives: one for each image, their style targets measured.
        contents: (B, 3, H, W) in [0, 1].
        images: (B, 3, H, W) in [0, 1], differentiable.
    """
    joined = Objective.join(objectives)
    with torch.no_grad():
        for term in joined.terms.values():
            if "content" in term.target_of:
                term.set_target(joined.encoder, Inputs(contents, ()), joined.checkpointing)
    joined.load_search_state()
    return joined(images)
