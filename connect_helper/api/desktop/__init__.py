"""The desktop face: JSON-RPC 2.0 for pages built on the newer Aspera SDK, by POST and WebSocket."""
