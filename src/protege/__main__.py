"""`python -m protege`."""

from protege.cli import command

command()
