"""The worker's HTTP face, on Litestar: it asks the engine, never the backend."""
