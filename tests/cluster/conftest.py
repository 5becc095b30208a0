"""What several of the cluster tests start from."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

import pytest
import pytest_asyncio

from sandbox import plane as sandbox_plane
from securetenant.checks.accounts import CONTROLLER_MANAGER
from securetenant.kube.transport import Transport
from tests.support import exposed, judging, tenants
from tests.support.lease import Asked, Election, staged, unable_to_watch
from tests.support.locked import MASTERS
from tests.support.sandbox import ROOT, Admin, Plane, apply_manifests
from tests.support.tenants import Stage

NODE_RIGHTS: Final = ROOT / "manifests" / "components" / "nodes" / "role.yaml"
_CLASSES: Final[Mapping[str, Mapping[str, Mapping[str, object]]]] = {
    "/apis/node.k8s.io/v1/runtimeclasses": {
        name: {"metadata": {"name": name}, "handler": "runc"} for name in ("gvisor", "gvisor-off", "runc")
    },
    "/apis/scheduling.k8s.io/v1/priorityclasses": {
        name: {"metadata": {"name": name}, "value": 1000} for name in ("tenant-high", "tenant-higher")
    },
}


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    """The operator as it ships, for all tests of a module; what they made is removed after the last."""
    async with tenants.stage(plane, admin, tmp_path_factory.mktemp("operator")) as stage:
        yield stage


@pytest_asyncio.fixture(scope="module")
async def node_rights(admin: Admin, manifests: None) -> AsyncIterator[None]:
    """The opt-in right over nodes, for all tests of a module."""
    await admin.apply(NODE_RIGHTS)
    yield
    await admin.kubectl("delete", "--ignore-not-found", "-f", str(NODE_RIGHTS))


@pytest_asyncio.fixture(scope="module")
async def policies(admin: Admin, manifests: None) -> AsyncIterator[None]:
    """``manifests/admission`` is applied and in force, for all tests of a module."""
    async with judging.policies(admin):
        yield


@pytest_asyncio.fixture(scope="module")
async def judge(admin: Admin, policies: None) -> AsyncIterator[Admin]:
    """An API server with the policies in force, with the classes that cases of the corpus name and the Gateway API."""
    made = [(path, name, body) for path, bodies in _CLASSES.items() for name, body in bodies.items()]
    for path, _, body in made:
        await admin.create(path, body)
    async with exposed.served(admin):
        yield admin
    for path, name, _ in made:
        await admin.delete(f"{path}/{name}")


@pytest_asyncio.fixture
async def election(plane: Plane) -> AsyncIterator[Election]:
    """A Lease of the test's own, and the candidates for it."""
    async with staged(plane) as election:
        yield election


@pytest_asyncio.fixture(scope="module")
async def poller(
    plane: Plane, admin: Admin, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Transport, Asked]]:
    """Who may not watch the Lease."""
    async with unable_to_watch(plane, admin, tmp_path_factory.mktemp("poller")) as poller:
        yield poller


@pytest_asyncio.fixture(scope="module")
async def mallory(plane: Plane) -> AsyncIterator[Admin]:
    """Somebody with every right of RBAC, and not in the break-glass group."""
    async with Admin(plane, user="mallory", groups=[MASTERS]) as client:
        yield client


@pytest_asyncio.fixture(scope="module", params=["an account each", "one account"])
async def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Admin]:
    """The administrator of a control plane with an account per controller, and of one with one account for all."""
    if request.param == "an account each":
        plane: Plane = request.getfixturevalue("plane")
        async with Admin(plane) as admin:
            await apply_manifests(admin)
            yield admin
        return
    with sandbox_plane.start(tmp_path_factory.mktemp("one-account"), one_account=True) as other:
        async with Admin(other) as admin:
            subject = {"kind": "User", "name": CONTROLLER_MANAGER, "apiGroup": "rbac.authorization.k8s.io"}
            role = {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"}
            binding = {"metadata": {"name": "all-controllers"}, "roleRef": role, "subjects": [subject]}
            await admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
            await apply_manifests(admin)
            yield admin
