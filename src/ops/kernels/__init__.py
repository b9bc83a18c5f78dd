"""Loops in C that PyTorch has no operator for, built by the machine's own compiler when they are first needed."""
