"""One bad answer of each class to each kind of request: the operator is back in time, and nothing came of it.

`make test-full` gives them all, also for a while (tests/cluster/test_faults_full.py).
"""

from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from tests.support.faults import ANSWERS, LIST_ANSWERS, QUICK, QUICK_LISTS, QUICK_WATCHES, QUICK_WRITES, WATCH_ANSWERS
from tests.support.sandbox import Admin, Plane
from tests.support.shortened import shortened
from tests.support.stand import DISCOVERY, LEASE, LISTS, WATCHES, WRITES, Stand, stand

pytestmark = pytest.mark.cluster
# One fault follows upon another here, and is not to wait for as long as the third in a row does.
HASTY: Final = {"kube.informer.FORBIDDEN_SECONDS": 1.0, "kube.informer.Informer(backoff)": (0.05, 1.0)}


@pytest_asyncio.fixture(scope="module")
async def stood(
    plane: Plane, admin: Admin, node_rights: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stand]:
    folder = tmp_path_factory.mktemp("faults")
    async with stand(plane, admin, folder, "faults", shortened(folder, HASTY)) as stood:
        yield stood


@pytest.mark.parametrize("answer", QUICK_WATCHES)
async def test_to_every_watch(stood: Stand, answer: str) -> None:
    await stood.suffers(WATCHES, WATCH_ANSWERS[answer])


@pytest.mark.parametrize("answer", QUICK_LISTS)
async def test_to_every_list(stood: Stand, answer: str) -> None:
    """Also a list of nothing, of which it might follow that everything is gone."""
    await stood.suffers(LISTS, LIST_ANSWERS[answer])


@pytest.mark.parametrize("answer", QUICK)
async def test_to_the_discovery(stood: Stand, answer: str) -> None:
    await stood.suffers(DISCOVERY, ANSWERS[answer])


@pytest.mark.parametrize("answer", QUICK_WRITES)
async def test_to_every_write(stood: Stand, answer: str) -> None:
    await stood.suffers(WRITES, ANSWERS[answer])


@pytest.mark.parametrize("answer", QUICK)
async def test_to_the_lease(stood: Stand, answer: str) -> None:
    await stood.suffers(LEASE, ANSWERS[answer])
