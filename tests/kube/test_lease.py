"""What an Elector refuses, and its clock; the election itself is in tests/cluster."""

import time
from pathlib import Path

import pytest
from aiohttp import web

from securetenant.kube.lease import Elector, LeaseLost, boottime
from tests.support.fakeapi import serving, status
from tests.support.kube import transport_to


async def _refuse(_request: web.Request) -> web.Response:
    return status(500)


@pytest.mark.parametrize(
    ("duration", "renew", "margin"),
    [
        pytest.param(15.0, 0.0, None, id="no-renewal"),
        pytest.param(15.0, 12.0, None, id="renewal-past-the-margin"),
        pytest.param(5.0, 3.0, 2.0, id="margin-too-wide"),
    ],
)
async def test_times_must_fit(tmp_path: Path, duration: float, renew: float, margin: float | None) -> None:
    async with serving(_refuse, tmp_path) as path, transport_to(path) as transport:
        with pytest.raises(ValueError, match="does not fit"):
            Elector(transport, "n", "l", "i", duration=duration, renew=renew, margin=margin)


async def test_not_valid_before_it_is_acquired(tmp_path: Path) -> None:
    async with serving(_refuse, tmp_path) as path, transport_to(path) as transport:
        elector = Elector(transport, "n", "l", "i")
        assert not elector.valid
        with pytest.raises(LeaseLost):
            elector.check()
        with pytest.raises(LeaseLost):
            await elector.keep()
        await elector.release()


def test_clock_counts_suspends() -> None:
    assert boottime() >= time.clock_gettime(time.CLOCK_MONOTONIC) - 0.1
