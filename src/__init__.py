"""Neural style transfer by optimisation, as a tracked experiment.

A map for the newcomer, top to bottom:


train            the command: python -m src.train (commandline: its manners; launchers: the jobs of a sweep)
report, sync     tables and figures from records; uploading offline W&B runs
run              one run, from a configuration to a folder with a picture and its record
loop             Lightning's Trainer over the steps; preparation builds what it needs
module           the LightningModule: the canvas is its only learnable parameter
callbacks        captures, checkpoints, signals; progress shows them; tracking sends them to CSV and W&B
objective        targets and the total loss; canvas: the image as parameter; optimizers, schedule, metrics
backbones        frozen networks whose named activations are compared
images           reading and writing pictures; catalogue finds them; records and files keep what came of a run
config           every option: name, type, default, help; validation checks them
core             the mathematics: Gram matrices and losses

Imports go downward only; tests/test_architecture.py keeps it so.
"""
