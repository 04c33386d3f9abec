from protege.cli import command

command()
