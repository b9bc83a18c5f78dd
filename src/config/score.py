"""A single figure of merit for sweeps that optimise one metric."""

from dataclasses import dataclass

from src.config.options import option


@dataclass
class Score:
    """Structure kept from the content, with a penalty on pictures too far from the style.

    score = SSIM - penalty * max(0, d - bound), where d is `patch_distance` between the picture and the style image, in
    standard deviations of the style's values. A style loss could not take its place: the swept options change what it
    measures. With fewer or shallower layers, or larger weights on layers that are easy to match, it falls although the
    picture stays the same.

    The defaults were measured on coffee and cat in the style of brushwork at 128 and 256 px, the other options at their
    defaults (2 CPU cores, 2026-11-28). With layer set e, d was 0.158 to 0.241 with loss.beta=2 and 0.106 to 0.129 with
    loss.beta=10, so the bound separates the two. With sets a, c and e SSIM fell by 1.0 to 2.5 per unit of d from the
    first to the second; a penalty below that would reward pictures with less style. Other styles need other bounds.
    """

    bound: float = option(0.14, "patch distance to the style up to which the score is SSIM alone")
    penalty: float = option(5.0, "SSIM subtracted per unit of patch distance beyond the bound")

    def of(self, ssim: float, distance: float) -> float:
        """Return the score of a picture from its SSIM to the content and its patch distance to the style."""
        return ssim - self.penalty * max(0.0, distance - self.bound)
