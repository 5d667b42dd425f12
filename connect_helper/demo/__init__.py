"""The demo: an SSH server with sample files and an example site, both gone when it ends.

The site speaks to the helper only as any web page does; nothing here reaches into the helper.
"""
