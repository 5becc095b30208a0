"""How Hypothesis runs, and fixtures for the tests that need a control plane: one for the whole run, started when the
first test asks for it."""

import re
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from sandbox import cluster, versions
from sandbox import plane as sandbox_plane
from tests.support.sandbox import MUTATING, Admin, Plane, apply_crds, apply_manifests

# No example is timed: on a busy machine it would fail for no fault of ours.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """The control plane: the sandbox's, or the cluster that ``SECURETENANT_TEST_KUBECONFIG`` names.

    It writes an audit log (not so another's cluster). Tests share it: each uses names of its own, and removes what it
    made that is not in its namespaces.
    """
    existing = cluster.attach(tmp_path_factory.mktemp("cluster"))
    if existing is not None:
        yield existing
        return
    with sandbox_plane.start(tmp_path_factory.mktemp("sandbox"), audit=True, report=print) as started:
        yield started


@pytest_asyncio.fixture(scope="session")
async def admin(plane: Plane) -> AsyncIterator[Admin]:
    """The administrator's client."""
    async with Admin(plane) as client:
        yield client


@pytest_asyncio.fixture(scope="session")
async def minor(admin: Admin) -> int:
    """The minor of the API server's version: 37 is Kubernetes 1.37."""
    found = re.match(r"\d+", (await admin.get("/version"))["minor"])
    assert found is not None
    return int(found[0])


# What an older API server lacks. A test, or a fixture, that needs it asks for it, and is skipped where it is not there:
# docs/kubernetes-versions.md has the same list.


@pytest.fixture(scope="session")
def mutating(minor: int) -> None:
    """MutatingAdmissionPolicy v1 is served."""
    _newer(minor, MUTATING, "MutatingAdmissionPolicy v1")


@pytest.fixture(scope="session")
def all_fields(minor: int) -> None:
    """The fields of pods are those of checks/types.json: an older API server drops what it does not know."""
    _newer(minor, int(versions.NEWEST.removeprefix("1.")), "The types that random pods are made from")


def _newer(minor: int, since: int, what: str) -> None:
    if minor < since:
        pytest.skip(f"{what} is there from Kubernetes 1.{since} on, and this is 1.{minor}")


@pytest_asyncio.fixture(scope="session")
async def crds(admin: Admin) -> None:
    """``crds/`` is applied, and SecureTenants can be made."""
    await apply_crds(admin)


@pytest_asyncio.fixture(scope="session")
async def manifests(admin: Admin) -> None:
    """``manifests/`` is applied: CRDs, roles, the ServiceAccount ``securetenant`` and the rest."""
    await apply_manifests(admin)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whatever asks for the control plane is a cluster test, and those come last: quick failures first. What takes
    minutes (`full`) runs only where it is asked for."""
    if "full" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("full") is not None]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
    for item in items:
        if "plane" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)
    items.sort(key=lambda item: item.get_closest_marker("cluster") is not None)
