"""connect-helper: moves big files between this computer and a server for web pages."""

__version__ = "0.1.0"
