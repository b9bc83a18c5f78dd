"""What the parameters mean: the models of the image that is optimised, a file each."""
