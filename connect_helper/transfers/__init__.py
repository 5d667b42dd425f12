"""Transfers: the queue and life of each one, the session that runs it, the journal that remembers it."""
