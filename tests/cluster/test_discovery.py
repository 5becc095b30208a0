"""A kind that the cluster need not serve: the operator works without it, and notices when it comes or goes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from tests.support import life
from tests.support.fault import dead, free_lease
from tests.support.optional import CODE, CONDITION, WIDGET
from tests.support.sandbox import NAMESPACE, ROOT, Admin, Operator, Plane, run_operator, wait_for
from tests.support.shortened import shortened

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("manifests")]

CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CRD: Final = f"{WIDGET.plural}.{WIDGET.group}"
RIGHTS: Final = "securetenant-optional"
ROLES: Final = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
TENANT: Final = "optional"
SPACE: Final = "optional-a"
COMES: Final = 5.0  # seconds


def definition(version: str = WIDGET.version) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD},
        "spec": {
            "group": WIDGET.group,
            "names": {"kind": WIDGET.name, "plural": WIDGET.plural},
            "scope": "Namespaced",
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


def rights(*rules: tuple[str, str]) -> dict[str, Any]:
    """The rules for these (group, resource): what an optional kind needs, the kind itself and the CRDs."""
    return {"rules": [{"apiGroups": [group], "resources": [name], "verbs": ["list", "watch"]} for group, name in rules]}


CRD_RIGHT: Final = ("apiextensions.k8s.io", "customresourcedefinitions")
WIDGET_RIGHT: Final = (WIDGET.group, WIDGET.plural)


@pytest_asyncio.fixture
async def role(admin: Admin) -> AsyncIterator[str]:
    """The path of a ClusterRole of the operator's that holds all that an optional kind needs; no CRD of the kind before
    and after."""
    group = "rbac.authorization.k8s.io"
    meta = {"apiVersion": f"{group}/v1", "metadata": {"name": RIGHTS}}
    binding = {
        **meta,
        "kind": "ClusterRoleBinding",
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": RIGHTS},
        "subjects": [{"kind": "ServiceAccount", "name": "securetenant", "namespace": NAMESPACE}],
    }
    await admin.apply({**meta, "kind": "ClusterRole", **rights(CRD_RIGHT, WIDGET_RIGHT)})
    await admin.apply(binding)
    await free_lease(admin)
    yield f"{ROLES}/{RIGHTS}"
    await life.remove(admin, TENANT)
    await uninstall(admin)
    await admin.kubectl("delete", "--ignore-not-found", "clusterrole,clusterrolebinding", RIGHTS)


@asynccontextmanager
async def operator(plane: Plane, folder: Path, **more: Any) -> AsyncIterator[Operator]:
    async with run_operator(plane, folder, env=shortened(folder, {}, CODE), **more) as running:
        yield running


async def install(admin: Admin, version: str = WIDGET.version) -> None:
    """The CRD, and wait until it is established."""
    await admin.create(CRDS, definition(version))

    async def is_established() -> bool:
        conditions = (await admin.get(f"{CRDS}/{CRD}")).get("status", {}).get("conditions") or []
        return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)

    await wait_for(is_established, 15, "the CRD to be established")


async def uninstall(admin: Admin) -> None:
    """Delete the CRD, and wait until it is gone. What a failed test's finalizer holds is let go."""
    status, answer = await admin.request("GET", WIDGET.path())
    for item in answer["items"] if status == 200 else []:
        if item["metadata"].get("finalizers"):
            path = WIDGET.path(item["metadata"]["namespace"], item["metadata"]["name"])
            await admin.patch(path, {"metadata": {"finalizers": None}})
    await admin.kubectl("delete", "crd", CRD, "--ignore-not-found", "--wait=true")


async def create(admin: Admin, name: str, **metadata: Any) -> None:
    """A widget, as soon as the API server takes it."""
    body = {"apiVersion": WIDGET.api_version, "kind": WIDGET.name, "metadata": {"name": name, **metadata}}

    async def is_created() -> bool:
        status, _ = await admin.request("POST", WIDGET.path(SPACE), body)
        return status == 201

    await wait_for(is_created, 15, f"widget {name} to be created")


async def seen(admin: Admin, status: str, message: str, deadline: float = COMES) -> None:
    async def is_so() -> bool:
        found = life.condition(await life.get(admin, TENANT), CONDITION)
        assert (found.get("status"), found.get("message")) == (status, message), found
        return True

    await wait_for(is_so, deadline, f"{CONDITION} {status}: {message}")


async def well(running: Operator) -> None:
    assert running.running
    assert (await running.get("/healthz"))[0] == 200
    assert (await running.get("/readyz"))[0] == 200
    assert await life.drift(running, TENANT) == {}
    assert "cannot be watched" not in running.tail(1000)


def said(running: Operator, line: str) -> int:
    """How often it logged that, of this kind: others are optional too."""
    return sum(line in each and WIDGET.key in each for each in running.tail(1000).splitlines())


ABSENT: Final = "an optional kind is not served"
PRESENT: Final = "an optional kind is served"


async def is_no_more(running: Operator) -> None:
    """The conditions change before the informer has stopped."""

    async def is_so() -> bool:
        metrics = ("securetenant_informer_objects", "securetenant_informer_last_contact_timestamp_seconds")
        return [await running.metric(name, kind=WIDGET.key) for name in metrics] == [0, 0]

    await wait_for(is_so, 10, "the informer to have stopped")


async def test_a_kind_that_comes_goes_and_comes_again(plane: Plane, admin: Admin, role: str, tmp_path: Path) -> None:
    async with operator(plane, tmp_path) as running:
        await life.create(admin, TENANT, life.spec(SPACE))
        await life.ready(admin, TENANT)
        await seen(admin, "Unknown", "none")
        await well(running)
        assert (said(running, ABSENT), said(running, PRESENT)) == (1, 0)

        for number in (1, 2):
            await install(admin)
            await seen(admin, "True", "none")
            await create(admin, "one")
            await create(admin, "two")
            await seen(admin, "True", "one two")
            assert await running.metric("securetenant_informer_objects", kind=WIDGET.key) == 2
            await uninstall(admin)
            await seen(admin, "Unknown", "none")
            await is_no_more(running)
            await life.ready(admin, TENANT)
            await well(running)
            assert (said(running, ABSENT), said(running, PRESENT)) == (1 + number, number)

        # Nothing else was undisturbed by luck: what others do is seen and undone as ever.
        path = f"{life.CHILDREN['limitranges'].format(SPACE)}/securetenant"
        await admin.delete(path)
        await wait_for(lambda: admin.find(path), COMES, "the LimitRange to be back")


async def test_what_lingers_is_seen_until_it_is_gone(plane: Plane, admin: Admin, role: str, tmp_path: Path) -> None:
    """A CRD is deleted, and a finalizer holds one of its objects."""
    await install(admin)
    async with operator(plane, tmp_path) as running:
        await life.create(admin, TENANT, life.spec(SPACE))
        await life.ready(admin, TENANT)
        await create(admin, "held", finalizers=["securetenant.example/held"])
        await create(admin, "free")
        await seen(admin, "True", "free held")
        await admin.delete(f"{CRDS}/{CRD}")
        await seen(admin, "Unknown", "held")
        await admin.patch(WIDGET.path(SPACE, "held"), {"metadata": {"finalizers": None}})
        await seen(admin, "Unknown", "none", 15)
        await uninstall(admin)
        await well(running)


async def test_another_version_is_not_the_kind(plane: Plane, admin: Admin, role: str, tmp_path: Path) -> None:
    """It comes when the CRD gets the version that is looked at."""
    await install(admin, "v1beta1")
    async with operator(plane, tmp_path) as running:
        await life.create(admin, TENANT, life.spec(SPACE))
        await life.ready(admin, TENANT)
        await seen(admin, "Unknown", "none")
        await well(running)
        versions = definition("v1beta1")["spec"]["versions"]
        added = {**versions[0], "name": WIDGET.version, "storage": False}
        await admin.patch(f"{CRDS}/{CRD}", {"spec": {"versions": [*versions, added]}})
        await create(admin, "one")
        await seen(admin, "True", "one")


async def test_which_rights_it_needs(plane: Plane, admin: Admin, role: str, tmp_path: Path) -> None:
    """Those over the kind, only where it is served; that over the CRDs ships."""
    await admin.patch(role, rights(CRD_RIGHT))
    async with operator(plane, tmp_path, name="absent") as running:
        assert said(running, ABSENT) == 1
    await install(admin)
    async with operator(plane, tmp_path, name="refused", wait_ready=0) as running:
        assert await dead(running) == 1
        assert f"may not list and watch {CRD}:" in running.tail()


async def _is_listed(admin: Admin) -> bool:
    """A new CRD's storage is answered for with 429 in its first moments."""
    code, _ = await admin.request("GET", WIDGET.path())
    return code == 200


async def test_plan_works_without_it(plane: Plane, admin: Admin, role: str, tmp_path: Path) -> None:
    async def plan() -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "securetenant", "plan", str(ROOT / "examples" / "bank" / "payments.yaml")),
            env={**os.environ, **shortened(tmp_path, {}, CODE), "KUBECONFIG": str(plane.kubeconfig)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        return process.returncode, out.decode()

    without = await plan()
    assert without[0] == 2, without[1]
    await install(admin)
    await wait_for(lambda: _is_listed(admin), COMES, "widgets to be served")
    assert await plan() == without
