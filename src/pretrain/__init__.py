"""`python -m src.pretrain`: train the embedded backbone on a folder of images."""
