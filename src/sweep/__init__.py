"""Sweeps over several processes and machines: the sweep folder is the queue, workers claim its jobs."""
