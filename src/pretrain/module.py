"""Lightning module that trains the embedded backbone."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.encoders.registry import VGGSpec
from src.pretrain.config import PretrainConfig
from src.pretrain.crops import Batch
from src.pretrain.matching import Matching, OutputsHead
from src.pretrain.network import LayoutHead, SceneHead, TextureHead, Trunk, layout_target
from src.pretrain.teacher import Teacher
from src.training.networks import NetworkModule

TEXTURE_TAPS = tuple(f"relu{block}_1" for block in range(1, 6))
LAYOUT_TAP = "relu4_1"
SCENE_TAP = "relu5_2"


class PretrainModule(NetworkModule):
    """Match the activations of a teacher, or classify pictures by texture statistics and deep features, or both.

    With `adversary` above 0, each batch of the later part of the training is used twice: as it is, and again after one
    step of size `adversary` along the sign of the loss gradient in the image (Goodfellow et al. 2015; reusing that
    gradient as in Shafahi et al. 2019, "Adversarial training for free"). Features of a network trained this way have
    image gradients that people recognise, and style transfer descends along them (Engstrom et al. 2019; Nakano 2019).

    Args:
        architecture: the network to train.
        options: the recipe.
        classes: number of classes of the training data.
        teacher: its activations and class probabilities are further targets (`options.features`, `options.outputs`);
            None for none. It is no part of the module's state, so that checkpoints do not hold it.
    """

    def __init__(
        self, architecture: VGGSpec, options: PretrainConfig, classes: int, teacher: Teacher | None = None
    ) -> None:
        super().__init__(options)
        self.trunk = Trunk(architecture).to(memory_format=torch.channels_last)
        channels = {name.replace("conv", "relu"): width for name, width in architecture.channels.items()}
        taps = TEXTURE_TAPS if options.texture or options.diversity else ()
        self.textures = nn.ModuleDict({tap: TextureHead(channels[tap], classes) for tap in taps})
        self.scene = SceneHead(channels[SCENE_TAP], classes) if options.scene else None
        self.layout = LayoutHead(channels[LAYOUT_TAP]) if options.layout else None
        self.teacher = teacher
        self.matching = Matching(teacher, channels) if teacher else None
        self.outputs = OutputsHead(channels[SCENE_TAP], teacher.classes) if teacher and teacher.classes else None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW with weight decay on matrices and kernels only."""
        kernels = [each for each in self.parameters() if each.ndim > 1]
        others = [each for each in self.parameters() if each.ndim <= 1]
        groups = [{"params": kernels, "weight_decay": self.options.weight_decay}, {"params": others, "weight_decay": 0}]
        return torch.optim.AdamW(groups, lr=self.options.lr, betas=(0.9, 0.99))

    def training_step(self, batch: Batch, index: int) -> None:
        """Take one optimiser step on a batch and, in the later part, a second on its adversarial version."""
        options = self.options
        twice = options.adversary > 0 and self.global_step >= options.adversary_from * options.steps
        images = batch.images.to(memory_format=torch.channels_last).requires_grad_(twice)
        self._update("train", images, batch.instances)
        if images.grad is not None and self.global_step < options.steps:
            moved = images.detach() + options.adversary / 255 * images.grad.sign()
            self._update("adversarial", moved.clamp(0, 1), batch.instances)
        self.batches += 1

    def _update(self, prefix: str, images: Tensor, instances: Tensor) -> None:
        optimizer: Any = self.optimizers()
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate(self.global_step)
        terms, total = self.losses(images, instances)
        optimizer.zero_grad()
        self.manual_backward(total)
        nn.utils.clip_grad_norm_(self.parameters(), self.options.clip)
        optimizer.step()
        self.latest |= {f"{prefix}/{name}": value.detach() for name, value in terms.items()}
        self.latest[f"{prefix}/loss"] = total.detach()

    def losses(self, images: Tensor, instances: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the metrics to log and the weighted total loss.

        Args:
            images: (B, 3, S, S) in [0, 1].
            instances: (B,) classes.
        """
        options = self.options
        with torch.autocast(images.device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            found = self.trunk(images)
            metrics, total = self._taught(images, found)
        for tap, head in self.textures.items():
            logits, redundancy = head(found[tap])
            metrics[f"accuracy/{tap}"] = _accuracy(logits, instances)
            metrics[f"redundancy/{tap}"] = redundancy
            loss = options.texture * self._cross_entropy(logits, instances) + options.diversity * redundancy
            total = total + loss / len(self.textures)
        if self.scene:
            logits = self.scene(found[SCENE_TAP])
            metrics["accuracy/scene"] = _accuracy(logits, instances)
            total = total + options.scene * self._cross_entropy(logits, instances)
        if self.layout:
            drawn = self.layout(found[LAYOUT_TAP])
            metrics["layout"] = F.mse_loss(drawn, layout_target(images.detach(), tuple(drawn.shape[-2:])))
            total = total + options.layout * metrics["layout"]
        return metrics, total

    def _taught(self, images: Tensor, found: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Return the metrics and the weighted loss of matching the teacher; nothing and 0 without one."""
        if self.teacher is None or self.matching is None:
            return {}, images.new_zeros(())
        targets = self.teacher.targets(images)
        matched = self.matching(found, targets.activations)
        metrics = {f"unexplained/{tap}": value for tap, value in matched.items()}
        total = self.options.features * torch.stack(list(matched.values())).mean()
        if self.outputs is not None and targets.logits is not None:
            metrics["outputs"] = self.outputs(found[SCENE_TAP], targets.logits)
            total = total + self.options.outputs * metrics["outputs"]
        return metrics, total

    def _cross_entropy(self, logits: Tensor, instances: Tensor) -> Tensor:
        return F.cross_entropy(logits, instances, label_smoothing=self.options.label_smoothing)


def _accuracy(logits: Tensor, instances: Tensor) -> Tensor:
    return (logits.detach().argmax(1) == instances).float().mean()
