"""Transfers of this computer's own user, without a helper: the Python interface and what it stands on."""
