"""Events that go to a sink, by a clock that stands still."""

import pytest

from securetenant.telemetry.events import Events
from tests.support.events import Clock, Sink


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def told(clock: Clock, sink: Sink) -> Events:
    return Events(sink, identity="pod_1", clock=clock)
