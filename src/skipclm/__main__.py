"""`python -m skipclm` is the command line too."""

from skipclm.cli import main

main()
