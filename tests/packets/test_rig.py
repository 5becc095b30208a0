"""The rig itself: what nobody forbids passes, and only while the enforcer runs."""

import pytest

from tests.support.packets import calls
from tests.support.packets.rig import Rig

pytestmark = [pytest.mark.full, pytest.mark.packets]


async def test_without_the_enforcer_nothing_passes(rig: Rig) -> None:
    assert await calls.connects(rig.control, calls.PATIENCE)
    rig.stop_enforcing()
    try:
        assert not await calls.connects(rig.control, calls.BLOCKED)
    finally:
        await rig.enforce()
    assert await calls.connects(rig.control, calls.PATIENCE)
