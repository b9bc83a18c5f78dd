"""Our own style images (CC0) and the script that generates them."""
