"""Mathematics on tensors, batch-first: losses, Gram matrices, patches, palette, colours. No files, no configuration."""
