"""Stylise photographs, clips and a camera's picture by a feed-forward network."""
