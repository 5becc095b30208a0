"""The cluster as the informers hold it: tenants, indexes, and which event concerns whom."""
