"""Measures of a finished picture: SSIM to the content, distances to the style, and blind comparisons."""
