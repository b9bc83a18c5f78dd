"""Frozen networks whose activations the losses compare: taps, weights, pooling, activation checkpointing."""
