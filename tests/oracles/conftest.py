"""The programs that judge beside ours. `make test-full` makes them before (`python -m sandbox oracles`)."""

from pathlib import Path

import pytest

from tests.support.oracles.programs import program


@pytest.fixture(scope="session")
def nca() -> Path:
    return program("nca")


@pytest.fixture(scope="session")
def netpolicy() -> Path:
    return program("netpolicy")


@pytest.fixture(scope="session")
def cyclonus() -> Path:
    return program("cyclonus")
