"""The transfer server: SSH/SFTP, tokens, HTTP fallback and the Node API over folders of one machine.

`program.py` puts the parts together; nothing of the helper is imported here, and nothing there imports this.
"""
