"""A folder as root: what a transfer server may reach of a file system, and nothing outside it."""
