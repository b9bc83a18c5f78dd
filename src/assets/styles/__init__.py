"""Style images of our own making (CC0), and the script that paints them."""
