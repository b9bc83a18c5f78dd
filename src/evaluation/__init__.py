"""Measures of a finished image: SSIM to the content, distances to the style."""
