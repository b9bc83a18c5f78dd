"""Tensor mathematics: batch-first functions on torch tensors, without files or configuration."""
