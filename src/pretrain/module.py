"""The training of the embedded backbone as a Lightning module."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.encoders.registry import Architecture
from src.pretrain.config import PretrainConfig
from src.pretrain.crops import Batch
from src.pretrain.network import LayoutHead, SceneHead, TextureHead, Trunk, layout_target

TEXTURE_TAPS = tuple(f"relu{block}_1" for block in range(1, 6))
LAYOUT_TAP = "relu4_1"
SCENE_TAP = "relu5_2"


class PretrainModule(pl.LightningModule):
    """Instance classification from the texture statistics of every tap and from the layout of the deepest.

    After a first part of the training each batch is used twice: as it is, and again after one step of `adversary`
    along the sign of the loss's gradient in the image (Goodfellow et al. 2015; without passes that train nothing, as in
    Shafahi et al. 2019, "Adversarial training for free"). Features of a network trained so have image gradients that
    a person recognises, which is what style transfer descends along (Engstrom et al. 2019; Nakano 2019).

    Args:
        architecture: the network to train.
        options: the recipe.
        classes: the number of classes, two to a picture.
    """

    def __init__(self, architecture: Architecture, options: PretrainConfig, classes: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.options = options
        self.trunk = Trunk(architecture).to(memory_format=torch.channels_last)
        channels = {name.replace("conv", "relu"): width for name, width in architecture.channels.items()}
        self.textures = nn.ModuleDict({tap: TextureHead(channels[tap], classes) for tap in TEXTURE_TAPS})
        self.scene = SceneHead(channels[SCENE_TAP], classes)
        self.layout = LayoutHead(channels[LAYOUT_TAP])
        self.latest: dict[str, Tensor] = {}
        self.batches = 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; decay on matrices and kernels alone."""
        kernels = [each for each in self.parameters() if each.ndim > 1]
        others = [each for each in self.parameters() if each.ndim <= 1]
        groups = [{"params": kernels, "weight_decay": self.options.weight_decay}, {"params": others, "weight_decay": 0}]
        return torch.optim.AdamW(groups, lr=self.options.lr, betas=(0.9, 0.99))

    def learning_rate(self, step: int) -> float:
        """Return the rate at a step: a linear warm-up, then half a cosine to zero."""
        warm = max(1, round(self.options.warmup * self.options.steps))
        if step < warm:
            return self.options.lr * (step + 1) / warm
        done = (step - warm) / max(1, self.options.steps - warm)
        return self.options.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """Take one optimiser step on the batch and, in the later part, a second on its adversarial neighbour."""
        options = self.options
        twice = options.adversary > 0 and self.global_step >= options.adversary_from * options.steps
        images = batch.images.to(memory_format=torch.channels_last).requires_grad_(twice)
        self._update("train", images, batch)
        if images.grad is not None and self.global_step < options.steps:
            moved = images.detach() + options.adversary / 255 * images.grad.sign()
            self._update("adversarial", moved.clamp(0, 1), batch)
        self.batches += 1

    def _update(self, prefix: str, images: Tensor, batch: Batch) -> None:
        optimizer: Any = self.optimizers()
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate(self.global_step)
        terms, total = self.losses(images, batch)
        optimizer.zero_grad()
        self.manual_backward(total)
        nn.utils.clip_grad_norm_(self.parameters(), self.options.clip)
        optimizer.step()
        self.latest |= {f"{prefix}/{name}": value.detach() for name, value in terms.items()}
        self.latest[f"{prefix}/loss"] = total.detach()

    def losses(self, images: Tensor, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Return the terms, for people, and their weighted sum, for the optimiser."""
        options = self.options
        half = torch.bfloat16 if options.precision == "bf16" else torch.float32
        with torch.autocast(images.device.type, half, enabled=options.precision == "bf16"):
            found = self.trunk(images)
        terms: dict[str, Tensor] = {}
        total = images.new_zeros(())
        for tap, head in self.textures.items():
            logits, redundancy = head(found[tap])
            loss = F.cross_entropy(logits, batch.instances, label_smoothing=options.label_smoothing)
            terms[f"accuracy/{tap}"] = _accuracy(logits, batch.instances)
            terms[f"redundancy/{tap}"] = redundancy
            total = total + (options.texture * loss + options.diversity * redundancy) / len(self.textures)
        logits = self.scene(found[SCENE_TAP])
        scene = F.cross_entropy(logits, batch.instances, label_smoothing=options.label_smoothing)
        drawn = self.layout(found[LAYOUT_TAP])
        layout = F.mse_loss(drawn, layout_target(images.detach(), tuple(drawn.shape[-2:])))
        terms |= {"accuracy/scene": _accuracy(logits, batch.instances), "layout": layout}
        return terms, total + options.scene * scene + options.layout * layout

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep how many batches were used: a resumed run goes on with the next."""
        checkpoint["batches"] = self.batches

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the count up again."""
        self.batches = checkpoint["batches"]


def _accuracy(logits: Tensor, instances: Tensor) -> Tensor:
    return (logits.detach().argmax(1) == instances).float().mean()
