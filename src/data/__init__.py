"""Images: reading, writing, resizing, and where they come from (paths, packages, downloads, mirror)."""
