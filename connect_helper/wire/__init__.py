"""Data of SSH channels straight to and from the socket, past the SSH library; both ends use it."""
