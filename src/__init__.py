"""Neural style transfer by optimisation, as a tracked experiment.

A map for the newcomer, top to bottom:

train            the command: python -m src.train (help; commandline: its manners; launchers: a sweep's jobs)
search           the command that looks for good settings; searching: its options, its study of trials, their front
pretrain         the command that trains the embedded backbone; pretraining: its crops, network, heads, recipe
blind            blind comparison of two sets of pictures
report, sync     page, figures and tables of runs, from their records; uploading what W&B tracked offline
reporting        figures, ablation, charts (on a sheet; pictures, labels, curves); summary, comparison (tables);
                 gallery: the page; reproduction: the command that makes a run again
dashboard        W&B's view and report of a project, as code; panels: what they show
bench            what the program costs; benchmark: the cases, their timing, the published program's loop, the table
batch            many pairs at once: which jobs go together, one canvas for them, a folder and an end for each
run              one run, from a configuration to a folder with a picture and its record
session          that folder while a process is at work in it
loop             Lightning's Trainer over the steps; staging enters a size, preparation builds what it
                 needs, starts the first image (ahead: while libraries load)
module           the LightningModule: the canvas is its only learnable parameter
callbacks        captures, checkpoints, signals (interrupts); progress shows them; history: metrics.csv; tracking: W&B
objective        targets and the total loss; compiling: the same, faster; canvas: the image as parameter; optimizers,
                 schedule, metrics, counters
economy          what of an evaluation is kept, by the memory that is free; footprint: how much it will need
quality          what a picture keeps of its content and takes of its style, measured once it is made
backbones        frozen networks whose named activations are compared
images           reading and writing pictures; catalogue finds them; records, files and provenance keep what was done
keys             what measured numbers are called
config           every option: name, type, default, help; options: how one is declared; score: the figure of merit;
                 validation checks them; composition reads conf/; identity: what makes two runs the same
core             the mathematics: Gram matrices, losses, patchwork and recoloring (starts), averaging
kernels          convolutions and searches on a CPU, in C, built by the machine's own compiler
memory           what is freed is kept for the next step; leaving: the end of a process
hardware         what the machine is called, and can do; its clock
errors           what a user can cause

Imports go downward only; tests/test_architecture.py keeps it so.
"""
