"""The one error of the sandbox."""


class SandboxError(Exception):
    """Something that the reader must do or know; its text says what, and is shown without a traceback."""
