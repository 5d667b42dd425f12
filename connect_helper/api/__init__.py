"""The local server: the faces that pages, our own window and the command line talk to."""
