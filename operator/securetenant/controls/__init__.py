"""The knowledge, pure: one file per control, spec + world -> desired objects and what is foreign."""
