"""Networks of published widths, with random weights, beside those of diffusers: what comes out, and what it takes.

    python -m tools.parity_full FOLDER [--models v1-5 v2-1 xl] [--parts unet decode memory …]

Every model is written to FOLDER once, in f16. Each engine computes in a process of its own, one after the other, so
that no two models are in memory at one time. What was computed stays in FOLDER: a run that was interrupted goes on, and
one that is whole prints its tables at once.
"""
