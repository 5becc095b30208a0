"""Exact algebra of ports, selectors and addresses, pure."""
