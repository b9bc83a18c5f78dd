"""The image models by name: `canvas.space=NAME`."""

from torch import Tensor

from src.config.schema import RunConfig
from src.encoders.base import Encoder
from src.transfer.image_models.base import ImageModel
from src.transfer.image_models.brightness import BrightnessImage
from src.transfer.image_models.fourier import FourierImage
from src.transfer.image_models.laplacian import LaplacianImage
from src.transfer.image_models.pixels import NormalizedImage, PixelImage
from src.transfer.image_models.split import SplitImage
from src.transfer.image_models.viewed import ViewedImage
from src.transfer.views import Sheet

IMAGE_MODELS: dict[str, type[ImageModel]] = {
    "pixel": PixelImage,
    "normalized": NormalizedImage,
    "split": SplitImage,
    "laplacian": LaplacianImage,
    "fourier": FourierImage,
    "brightness": BrightnessImage,  # of color=luminance, whatever canvas.space
}

# Starts with fine colours of another image, which the coarse colour changes of `split` cannot remove.
FOREIGN_STARTS = ("noise", "style", "file")


def image_space(config: RunConfig) -> str:
    """Return the image model in use: `split` gives way to `pixel` for starts of foreign colours."""
    if config.color == "luminance":
        return "brightness"
    split = config.canvas.space == "split"
    return "pixel" if split and config.init.name in FOREIGN_STARTS else config.canvas.space


def build_image_model(config: RunConfig, start: Tensor, encoder: Encoder, sheet: Sheet | None = None) -> ImageModel:
    """Return the model of a batch of images (B, 3, H, W) in [0, 1], on their device; with a sheet, of their views."""
    # L-BFGS must evaluate the image that its own step produced: clamping would move it.
    clamp = config.canvas.clamp and config.optimizer.name != "lbfgs"
    model = IMAGE_MODELS[image_space(config)].build(start, encoder, clamp, config.schedule.average)
    return model if sheet is None else ViewedImage(model, sheet)
