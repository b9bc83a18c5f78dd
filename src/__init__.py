"""Neural style transfer by optimisation, as a tracked experiment.

A map for the newcomer, top to bottom:

train            the command: python -m src.train (help; commandline: its manners; launchers: a sweep's jobs)
pretrain         the command that trains the embedded backbone; pretraining: its crops, network, heads, recipe
blind            blind comparison of two sets of pictures
report, sync     tables, figures (sheet), comparison with the study; uploading what W&B tracked offline
bench            what the program costs; benchmark: the cases, their timing, the published program's loop, the table
run              one run, from a configuration to a folder with a picture and its record
loop             Lightning's Trainer over the steps; preparation builds what it needs
module           the LightningModule: the canvas is its only learnable parameter
callbacks        captures, checkpoints, signals (interrupts); progress shows them; history: metrics.csv; tracking: W&B
objective        targets and the total loss; compiling: the same, faster; canvas: the image as parameter; optimizers,
                 schedule, metrics
economy          what of an evaluation is kept, by the memory that is free; footprint: how much it will need
quality          what a picture keeps of its content and takes of its style, measured once it is made
backbones        frozen networks whose named activations are compared; kernels: what they run faster by, in C
images           reading and writing pictures; catalogue finds them; records, files and provenance keep what was done
config           every option: name, type, default, help; validation checks them; composition reads conf/
core             the mathematics: Gram matrices, losses, patchwork (the start, of an example's patches)
memory           what is freed is kept for the next step
errors           what a user can cause

Imports go downward only; tests/test_architecture.py keeps it so.
"""
