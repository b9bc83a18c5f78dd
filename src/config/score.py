"""One figure of merit, for sweeps that can follow one alone."""

from dataclasses import dataclass

from src.config.options import option


@dataclass
class Score:
    """How much of the content is kept, among pictures that are near enough to the style.

    score = SSIM - penalty max(0, distance - bound), where the distance is `quality.patch_distance`: between the two
    pictures themselves, in standard deviations of the style's values. A style loss would not do. What it measures is
    chosen by the very options that are swept: fewer and shallower layers, or weights on those that match easily, make
    it smaller without a change of the picture.

    The defaults are measured on coffee and cat in brushwork, at 128 and 256 px, with layer sets a, c and e: with beta 1
    the distance is 0.18 to 0.19, with beta 10 0.13 to 0.14. Between them SSIM falls by 1 to 1.5 for each unit of
    distance, so that a smaller penalty would be worth paying. Other styles have distances of their own.
    """

    bound: float = option(0.15, "patch distance to the style up to which SSIM alone counts")
    penalty: float = option(5.0, "what a patch distance of 1 beyond the bound costs, in SSIM")

    def of(self, ssim: float, distance: float) -> float:
        """Return the score of a picture."""
        return ssim - self.penalty * max(0.0, distance - self.bound)
