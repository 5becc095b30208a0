"""The controls, pure: one file or folder each, spec + world -> desired objects and foreign objects."""
