"""Neural style transfer by optimisation, as a tracked experiment.

docs/design.md lists the packages and what each may import. A run goes from command to folder like this: train -> run ->
training.setup -> training.loop -> training.callbacks. The losses are in ops/losses.py (equation 4) and are weighted in
transfer/objective.py (alpha).
"""
