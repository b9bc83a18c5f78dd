"""Training the embedded backbone on a folder of images: crops, network, heads, the Lightning module."""
