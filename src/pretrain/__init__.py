"""Train the embedded backbone on a folder of images: random crops, network with heads, Lightning module, command."""
