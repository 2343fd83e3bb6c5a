"""The training recipe of `pollen`, the embedded text-to-image model: ``python -m tools.pollen all``."""
