"""A texture as it is seen through cameras: `canvas.views`."""

from torch import Tensor

from src.transfer.image_models.base import ImageModel
from src.transfer.views import Sheet


class ViewedImage(ImageModel):
    """The views of a canvas, whose own model has all parameters.

    The picture, which is saved and from which the next stage starts, is the canvas.

    Args:
        canvas: model of the texture.
        sheet: its views.
    """

    def __init__(self, canvas: ImageModel, sheet: Sheet) -> None:
        super().__init__(sheet.coverage, clamp=False)
        self.canvas, self.sheet = canvas, sheet

    def render(self) -> Tensor:
        """Return the sheet of views."""
        return self.sheet(self.canvas.render())

    def project(self) -> None:
        """Put every pixel of the canvas back into [0, 1]."""
        self.canvas.project()

    def picture(self) -> Tensor:
        """Return the canvas, (B, 3, h, w), or its running average."""
        return self.canvas.picture()

    def shown(self, picture: Tensor) -> Tensor:
        """Return the views of a canvas."""
        return self.sheet(picture)

    def after_update(self) -> None:
        """Project the canvas and add it to its running average."""
        self.canvas.after_update()
