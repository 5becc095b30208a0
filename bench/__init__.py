"""Measure the operator on the sandbox's control plane, every figure beside what a bare client needs for the same.

``python -m bench --help``. Nothing of it ships.
"""
