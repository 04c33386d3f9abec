"""The command line: a file for each verb, assembled in `app`."""

from protege.lazy import without_collecting

with without_collecting():
    from protege.cli.app import app as app
    from protege.cli.app import command as command
    from protege.cli.app import main as main
