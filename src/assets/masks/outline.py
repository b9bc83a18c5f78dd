"""Make the mask of content=astronaut: ``python -m src.assets.masks.outline``.

A polygon drawn by hand says where the person is to within a few pixels; a random walk finds the border (Grady 2006,
"Random walks for image segmentation"). The person is white, the background black.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import maximum_filter, minimum_filter
from skimage.data import astronaut
from skimage.segmentation import random_walker

PERSON = (
    *((45, 520), (38, 490), (30, 460), (25, 425), (22, 384), (24, 335), (33, 300), (45, 280), (58, 256), (70, 240)),
    *((85, 228), (110, 208), (113, 186), (122, 168), (136, 156), (158, 149), (183, 148), (182, 138), (176, 130)),
    *((165, 118), (156, 100), (153, 75), (157, 58), (170, 44), (190, 28), (210, 19), (235, 15), (260, 22), (285, 40)),
    *((298, 60), (302, 85), (297, 105), (285, 124), (276, 135), (268, 137), (262, 146), (258, 165), (256, 178)),
    *((272, 186), (290, 204), (302, 224), (304, 236), (325, 246), (341, 265), (351, 290), (359, 320), (363, 348)),
    *((380, 344), (402, 343), (430, 352), (459, 372), (480, 400), (491, 428), (497, 452), (506, 470), (511, 500)),
    (520, 520),
)
UNSURE = 8  # px on either side of the polygon


def person() -> np.ndarray:
    """Return the mask, (512, 512) uint8, 0 or 255."""
    picture = astronaut()
    drawn = Image.new("L", (512, 512))
    ImageDraw.Draw(drawn).polygon(PERSON, fill=255)
    certain = minimum_filter(np.asarray(drawn), 2 * UNSURE + 1), ~maximum_filter(np.asarray(drawn), 2 * UNSURE + 1)
    known = np.select([each > 0 for each in certain], [1, 2])
    found = random_walker(picture / 255, known, beta=300, mode="bf", channel_axis=-1)
    return np.where(found == 1, 255, 0).astype(np.uint8)


if __name__ == "__main__":
    Image.fromarray(person()).save(Path(__file__).with_name("astronaut.png"), optimize=True)
