"""Ports, label selectors and CIDR blocks as exact sets, and NetworkPolicies as values. Pure."""
