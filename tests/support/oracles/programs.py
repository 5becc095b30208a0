"""The programs that judge beside ours."""

import os
from pathlib import Path

import pytest

from sandbox import oracles
from sandbox.errors import SandboxError


def program(name: oracles.Name) -> Path:
    """Its path. Where it can neither be found nor made, the test that asks is skipped, and fails in CI."""
    try:
        return oracles.ensure(name)
    except SandboxError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{name} is not here, and nothing was compared with it: {error}")
