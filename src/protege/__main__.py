"""`python -m protege`."""

from protege.cli import main

main()
