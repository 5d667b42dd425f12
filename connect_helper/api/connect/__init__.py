"""The Connect face: the HTTP API that pages built on the Connect script library call, under /v5 and /v6."""
