"""`securetenant run` where something that it needs is not there: it says what to apply, and exits."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import pytest_asyncio

from sandbox import credentials
from sandbox import plane as sandbox_plane
from sandbox.supervisor import free_port
from tests.support.fakeapi import kubeconfig
from tests.support.fault import LEASE, dead, free_lease, leads
from tests.support.sandbox import Admin, Operator, Plane, operator_token, run_operator, wait_for
from tests.support.shortened import shortened

pytestmark = pytest.mark.cluster

ACCOUNTS: Final = "/api/v1/namespaces/default/serviceaccounts"
BINDINGS: Final = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
# What is missing does not come.
IMPATIENT: Final = {"kube.preflight.PATIENCE": 0.5}
USER: Final = "system:serviceaccount:default:nobody"


@pytest_asyncio.fixture
async def nobody(plane: Plane, admin: Admin, tmp_path: Path) -> AsyncIterator[Path]:
    """The kubeconfig of a ServiceAccount without any right."""
    await admin.create(ACCOUNTS, {"metadata": {"name": "nobody"}})
    try:
        token = await operator_token(plane, namespace="default", name="nobody")
        path = tmp_path / "nobody.kubeconfig"
        credentials.write_kubeconfig(path, url=plane.url, ca_file=plane.ca_file, token=token, user="nobody")
        yield path
    finally:
        await admin.delete(f"{ACCOUNTS}/nobody")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane of its own to which nothing of ours is applied: the others' CRD is not taken away."""
    with sandbox_plane.start(tmp_path_factory.mktemp("bare")) as started:
        yield started


async def refusal(plane: Plane, folder: Path, config: Path, **env: str) -> str:
    """What an operator says that cannot start; it has to end by itself, soon, and without a traceback."""
    env |= shortened(folder, IMPATIENT)
    async with run_operator(plane, folder, kubeconfig=config, env=env, wait_ready=0) as operator:
        assert await dead(operator) == 1
        text = operator.tail(1000)
    (line,) = [line for line in text.splitlines() if '"level":"error"' in line]
    assert "cannot start" in line
    assert "kubectl apply -k manifests/" in line
    assert "Traceback" not in text
    assert len(text.splitlines()) < 8, text
    return line


async def test_without_rights(plane: Plane, admin: Admin, manifests: None, nobody: Path, tmp_path: Path) -> None:
    await free_lease(admin)
    said = await refusal(plane, tmp_path, nobody)
    for right in (
        f"{USER} may not ",
        "create leases.coordination.k8s.io in securetenant-system",
        "get and update leases.coordination.k8s.io securetenant in securetenant-system",
        "list and watch securetenants.securetenant.dev",
        "list and watch networkpolicies.networking.k8s.io",
        "list and watch endpointslices.discovery.k8s.io in default",
    ):
        assert right in said
    assert await admin.find(LEASE) is None


async def test_rights_that_come_in_time(
    plane: Plane, admin: Admin, manifests: None, nobody: Path, tmp_path: Path
) -> None:
    """They come a moment after the start, as they do where all is applied at once."""
    await free_lease(admin)
    binding: dict[str, Any] = {
        "metadata": {"name": "nobody"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "nobody"}],
    }
    try:
        async with run_operator(plane, tmp_path, kubeconfig=nobody, wait_ready=0) as operator:
            await wait_for(lambda: answers(operator), 10, "the process to be there")
            await admin.create(BINDINGS, binding)
            await wait_for(operator.ready, 15, "the operator to start")
            await wait_for(lambda: leads(operator), 15, "it to lead")
    finally:
        await admin.delete(f"{BINDINGS}/nobody")


async def answers(operator: Operator) -> bool:
    try:
        return (await operator.get("/healthz"))[0] == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def test_without_its_namespace(plane: Plane, manifests: None, tmp_path: Path) -> None:
    said = await refusal(plane, tmp_path, plane.kubeconfig, SECURETENANT_OPERATOR_NAMESPACE="not-there")
    assert "the namespace not-there, where the operator's Lease belongs, does not exist" in said
    assert "may not" not in said
    assert "CRD" not in said


async def test_without_anything(bare: Plane, tmp_path: Path) -> None:
    said = await refusal(bare, tmp_path, bare.kubeconfig)
    assert "does not know securetenants.securetenant.dev (v1alpha1): apply the CRD first" in said
    assert "the namespace securetenant-system, where" in said


async def test_with_credentials_that_are_not_accepted(plane: Plane, tmp_path: Path) -> None:
    path = tmp_path / "stranger.kubeconfig"
    credentials.write_kubeconfig(path, url=plane.url, ca_file=plane.ca_file, token="no-such-token", user="stranger")
    env = shortened(tmp_path, IMPATIENT)
    async with run_operator(plane, tmp_path, kubeconfig=path, env=env, wait_ready=0) as operator:
        assert await dead(operator) == 1
        assert f"does not accept the credentials from {path}" in operator.tail()


async def test_an_api_server_that_is_away_is_waited_for_and_said_once(plane: Plane, tmp_path: Path) -> None:
    """Restarting would not help: the probe for that is well, the other is not."""
    path, port = tmp_path / "away.kubeconfig", free_port()
    path.write_text(str(kubeconfig(f"http://127.0.0.1:{port}", {"token": "t"})).replace("'", '"'))
    async with run_operator(plane, tmp_path, kubeconfig=path, wait_ready=0) as operator:
        await wait_for(lambda: answers(operator), 10, "the process to be there")
        failed = "securetenant_api_requests_total"

        async def is_patient() -> bool:
            return await operator.metric(failed, code="error") >= 8

        await wait_for(is_patient, 15, "it to have asked again and again")
        assert await answers(operator)
        assert (await operator.get("/readyz"))[0] == 503
        assert await operator.stop() == 0
        text = operator.tail(1000)
    assert text.count("cannot reach the API server") == 1
    assert f"at http://127.0.0.1:{port}: no connection to 127.0.0.1:{port}: Connection refused" in text
    assert len(text.splitlines()) < 6, text
    assert "ConnectionKey" not in text


# Something breaks down just when it has begun to lead.
BREAKS: Final = """
import securetenant.app, securetenant.kube.preflight
async def breaks(controller):
    await controller.caught_up()
    raise securetenant.kube.preflight.StartError("broken for a test")
securetenant.app._settle = breaks
"""


async def test_what_breaks_down_gives_the_lease_back(
    plane: Plane, admin: Admin, manifests: None, tmp_path: Path
) -> None:
    await free_lease(admin)
    async with run_operator(plane, tmp_path, env=shortened(tmp_path, {}, BREAKS), wait_ready=0) as operator:
        assert await dead(operator) == 1
        assert "broken for a test" in operator.tail()
        assert re.search(r"Lease/securetenant-system/securetenant released", operator.tail())
    lease = await admin.get(LEASE)
    assert not lease["spec"].get("holderIdentity")
    assert lease["spec"]["leaseDurationSeconds"] == 1
