"""Masks of content images and the script that generates them."""
