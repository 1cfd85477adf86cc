"""HTTP: the server and what both services answer with it."""
