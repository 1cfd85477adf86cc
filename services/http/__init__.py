"""HTTP/1.1 server, routing and problem documents, shared by all services."""
