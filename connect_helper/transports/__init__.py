"""How bytes move between this machine and a server."""
