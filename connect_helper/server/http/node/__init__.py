"""The Node API: files and transfers of an account over HTTP, with Basic authentication."""
