"""Queues, workers and launchers."""
