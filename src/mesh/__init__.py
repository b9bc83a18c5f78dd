"""Paint the textures of 3D models: models, cameras, the run, and pictures of the result."""
