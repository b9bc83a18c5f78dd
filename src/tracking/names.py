"""What measured numbers are called, wherever they are logged, drawn or compared: one list.

Light on purpose: a report reads these names without loading what measures them.
"""

TOTAL = "loss/total"
CONTENT = "loss/content"
STYLE = "loss/style"
PALETTE = "loss/palette"
TV = "loss/tv"
SSIM = "ssim"
EVALUATIONS = "evaluations"
SECONDS = "seconds"
IT_PER_S = "throughput/it_per_s"
MPX_IT_PER_S = "throughput/mpx_it_per_s"
PEAK_MIB = "memory/peak_mib"
CAPTURE = "capture"
# Measured once, of the finished picture: a run's last point has them.
GRADIENT_SSIM = "gradient_ssim"
PATCH_DISTANCE = "patch_distance"
GRAM_DISTANCE = "gram_distance"
SCORE = "score"


def loss_key(term: str, tap: str | None = None) -> str:
    """Return the name of a term of the objective, or of its part at one tap."""
    return f"loss/{term}" if tap is None else f"loss/{term}/{tap}"
