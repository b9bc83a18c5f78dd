"""Names of the metrics, as logged, drawn, recorded and compared.

Imports nothing, so that reports can use the names without loading PyTorch.
"""

METRICS = "metrics.csv"  # in the run folder

# Terms of the objective. TOTAL is weighted, all others are not.
TOTAL_TERM = "total"  # its key among the losses of a capture, which have no prefix
TOTAL = f"loss/{TOTAL_TERM}"
CONTENT = "loss/content"
STYLE = "loss/style"

SSIM = "ssim"  # to the content image
EVALUATIONS = "evaluations"
SECONDS = "seconds"
IT_PER_S = "throughput/it_per_s"
MPX_IT_PER_S = "throughput/mpx_it_per_s"
PEAK_MIB = "memory/peak_mib"
CAPTURE = "capture"
VIDEO = "video"
# Measured once, of the finished picture: only the last row of a run has them.
GRADIENT_SSIM = "gradient_ssim"
PATCH_DISTANCE = "patch_distance"
GRAM_DISTANCE = "gram_distance"
SCORE = "score"


def loss_key(term: str, tap: str | None = None) -> str:
    """Return the name of a term's loss, or of its share at one tap: `loss/style`, `loss/style/relu1_1`."""
    return f"loss/{term}/{tap}" if tap else f"loss/{term}"
