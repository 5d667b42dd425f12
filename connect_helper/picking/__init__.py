"""Asking the user: file dialogs, questions and credentials, natively or on a page of our own."""
