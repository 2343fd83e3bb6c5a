"""The command `sd-rbee`: results go to stdout, everything else to stderr."""

from sd_rbee.cli.app import main

__all__ = ["main"]
