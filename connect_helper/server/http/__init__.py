"""The transfer server's HTTP side: fallback transfers for those whom SSH does not reach, and the Node API.

Handlers read, ask and answer. What may be done is decided by `Access`, what the disk holds by `storage`.
"""
