"""Compares desired with observed objects -> missing, changed, foreign, stale. Pure."""
