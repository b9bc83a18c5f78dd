"""Measures of finished images, which no optimisation uses: SSIM, distances to the style."""
