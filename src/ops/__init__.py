"""The mathematics: torch and the standard library only, batch-first, no files, no configuration."""
