"""Judges what runs by the checks: outcomes -> rows, counts, a condition, metrics. Pure."""
