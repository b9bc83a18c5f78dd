"""3D models for examples and the scripts that generate them."""
