"""The command as `python -m connect_helper`, which is how services and links start it."""

from connect_helper.cli import main

main()
