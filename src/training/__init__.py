"""One run: its folder, set-up, LightningModule, loop, callbacks, checkpoints, throughput and memory."""
