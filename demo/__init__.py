"""The main job in front of the reader: tenants made, tampered with, and kept. `make demo`."""
