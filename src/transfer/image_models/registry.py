"""The image models by name: `canvas.space=NAME`."""

from torch import Tensor

from src.config.schema import RunConfig
from src.encoders.base import Encoder
from src.transfer.image_models.base import ImageModel
from src.transfer.image_models.brightness import BrightnessImage
from src.transfer.image_models.fourier import FourierImage
from src.transfer.image_models.laplacian import ColorLaplacianImage, LaplacianImage
from src.transfer.image_models.pixels import NormalizedImage, PixelImage
from src.transfer.image_models.viewed import ViewedImage
from src.transfer.views import Sheet

IMAGE_MODELS: dict[str, type[ImageModel]] = {
    "laplacian": LaplacianImage,
    "pixel": PixelImage,
    "normalized": NormalizedImage,
    "fourier": FourierImage,
}

# Starts with fine colours that the content does not have.
FOREIGN_STARTS = ("noise", "style", "file")


def image_model(config: RunConfig) -> type[ImageModel]:
    """Return the class of the image model of a run."""
    if config.color == "luminance":
        return BrightnessImage
    if config.canvas.space == "laplacian" and config.init.name in FOREIGN_STARTS:
        return ColorLaplacianImage
    return IMAGE_MODELS[config.canvas.space]


def build_image_model(config: RunConfig, start: Tensor, encoder: Encoder, sheet: Sheet | None = None) -> ImageModel:
    """Return the model of a batch of images (B, 3, H, W) in [0, 1], on their device; with a sheet, of their views."""
    # L-BFGS must evaluate the image that its own step produced: clamping would move it.
    clamp = config.canvas.clamp and config.optimizer.name != "lbfgs"
    model = image_model(config).build(start, encoder, clamp, config.schedule.average)
    return model if sheet is None else ViewedImage(model, sheet)
