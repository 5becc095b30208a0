"""The cluster's edge: the only code that does I/O to the API server."""
