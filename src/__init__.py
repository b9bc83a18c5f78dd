"""Neural style transfer by optimisation, as a tracked experiment.

The packages, top to bottom; each imports only those below its line (docs/design.md, tests/test_architecture.py):

train, run       start one run or a sweep: `python -m src.train`, and the same from Python
sync, dashboard  upload offline W&B runs; save a W&B workspace view and report
app              a page on this machine to start runs and watch them
blind            compare two sets of images blind
report           gallery, figures and tables of runs, from their records
search           multi-objective search over weights and learning rate
pretrain         train the embedded backbone
bench            measure speed, memory and start-up
cli              exit codes, error messages, help texts, launchers
training         one run: folder, set-up, LightningModule, loop, callbacks, checkpoints, throughput, memory
transfer         the objective (table of weighted terms), terms/, image_models/, start images, optimisers, compilation
evaluation       measures of finished images: SSIM, distances to the style
tracking         record.json, names of metrics, loggers (CSV, W&B, Lightning's own), provenance
encoders         frozen networks: taps, weights, pooling, activation checkpointing
data             reading, writing and resizing images; where they come from
ops              mathematics on tensors: losses, Gram matrices, patches, palette; kernels/ (C, optional)
config           options: schema, validation, composition from conf/, identity of a run
common           errors, files, signals, platform
assets           images, weights and numbers that ship with the program

A run goes from command to folder like this: train -> run -> training.setup -> training.loop -> training.callbacks.
The losses are in ops/losses.py (equation 4) and are weighted in transfer/objective.py (alpha).
"""
