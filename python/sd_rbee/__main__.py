"""`python -m sd_rbee` is the command `sd-rbee`."""

from sd_rbee.cli import main

main()
