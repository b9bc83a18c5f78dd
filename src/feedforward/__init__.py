"""Networks that stylise an image in one pass."""

TILE = 1024  # side of the tiles of larger pictures, without their margin, px
