"""Optional C kernels for the CPU, compiled by the machine when first used."""
