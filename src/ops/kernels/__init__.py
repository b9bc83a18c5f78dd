"""Optional CPU kernels in C for what PyTorch has no operator for, compiled by the machine's C compiler on first use."""

from src.ops.kernels.build import enabled, use

__all__ = ["available", "enabled", "use"]


def available() -> bool:
    """Return whether the kernels are switched on and all of them could be compiled; compiles them if need be."""
    from src.ops.kernels import products, winograd

    return winograd.available() and products.available()
