"""Calico's own plug-in hands out addresses by what the operator wrote: run as a node's container runtime runs it."""

import asyncio
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from sandbox import credentials
from sandbox.cni import calico, crds
from sandbox.operator import operator_token
from tests.support import pods, pools
from tests.support.life import NAMESPACES, Json
from tests.support.pools import PREFIX, entry, spec
from tests.support.sandbox import Admin, Plane, wait_for
from tests.support.tenants import Stage

pytestmark = [pytest.mark.full, pytest.mark.cluster, pytest.mark.timeout(900)]
NODE: Final = "calico-node"
#: What un-annotated namespaces draw from.
OPEN: Final = "10.200.0.0/24"
#: As Calico's own manifests name it.
ACCOUNT: Final = "calico-cni-plugin"
BINDINGS: Final = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
CRD: Final = "/apis/crd.projectcalico.org/v1"


class RefusedError(Exception):
    """The plug-in gives no address."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The node's container runtime: a network namespace for each pod, and the plug-in that is called for it."""

    admin: Admin
    folder: Path
    config: bytes

    async def born(self, namespace: str, name: str) -> str:
        """Make a pod on the node; the address that it gets. Raises RefusedError, and the Pod's own refusal."""
        path = f"{NAMESPACES}/{namespace}/pods"
        await self.admin.create(path, {"metadata": {"name": name}, "spec": pods.spec()})

        async def is_bound() -> bool:
            return bool((await self.admin.get(f"{path}/{name}"))["spec"].get("nodeName") == NODE)

        await wait_for(is_bound, 20, f"the scheduler to bind {namespace}/{name}")
        network = f"stn-{uuid.uuid4().hex[:8]}"
        await asyncio.to_thread(run, "ip", "netns", "add", network)
        try:
            told = await asyncio.to_thread(self._add, namespace, name, network)
        finally:
            await asyncio.to_thread(run, "ip", "netns", "delete", network)
        return str(ip_interface(told["ips"][0]["address"]).ip)

    def _add(self, namespace: str, name: str, network: str) -> Json:
        """The address stays the pod's when the network namespace goes."""
        container = uuid.uuid4().hex
        args = (
            f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={container}"
        )
        environment = {
            "PATH": os.environ["PATH"],
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/var/run/netns/{network}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.folder),
            "CNI_ARGS": args,
        }
        plugin = str(self.folder / "calico")
        done = subprocess.run([plugin], input=self.config, env=environment, capture_output=True, check=False)
        try:
            told: Any = json.loads(done.stdout)
        except ValueError:
            raise RefusedError(done.stderr.decode(errors="replace")[-2000:]) from None
        if done.returncode != 0:
            raise RefusedError(told.get("msg", "") + told.get("details", ""))
        return dict(told)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest_asyncio.fixture(scope="module")
async def stage(
    plane: Plane, admin: Admin, manifests: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    for path in calico.definitions():
        await admin.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(path))
    try:
        async with pools.stage(plane, admin, tmp_path_factory.mktemp("operator"), crds.CALICO) as stage:
            yield stage
    finally:
        for path in calico.definitions():
            await admin.kubectl("delete", "--ignore-not-found", "-f", str(path))


@pytest_asyncio.fixture(scope="module")
async def runtime(stage: Stage, plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runtime]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a pod's network namespace needs root and iproute2: Calico's plug-in is not tried here")
    admin, folder = stage.admin, await asyncio.to_thread(calico.ensure)
    await admin.create(f"{CRD}/clusterinformations", _calico("ClusterInformation", "default", datastoreReady=True))
    await admin.create(f"{CRD}/ippools", _calico("IPPool", "open", cidr=OPEN, blockSize=26, nodeSelector="all()"))
    await admin.create("/api/v1/nodes", {"metadata": {"name": NODE}})
    # The plug-in's own account: nobody else writes its annotations on tenants' pods.
    await admin.create("/api/v1/namespaces/kube-system/serviceaccounts", {"metadata": {"name": ACCOUNT}})
    subject = {"kind": "ServiceAccount", "namespace": "kube-system", "name": ACCOUNT}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    binding = {"metadata": {"name": ACCOUNT}, "subjects": [subject], "roleRef": role}
    await admin.create(BINDINGS, binding)
    token = await operator_token(plane, namespace="kube-system", name=ACCOUNT)
    kubeconfig = tmp_path_factory.mktemp("calico") / "kubeconfig"
    credentials.write_kubeconfig(kubeconfig, url=plane.url, ca_file=plane.ca_file, token=token, user=ACCOUNT)
    config = {
        "name": "k8s-pod-network",
        "cniVersion": "0.3.1",
        "type": "calico",
        "nodename": NODE,
        "nodename_file_optional": True,
        "datastore_type": "kubernetes",
        "policy": {"type": "k8s"},
        "ipam": {"type": "calico-ipam"},
        "kubernetes": {"kubeconfig": str(kubeconfig)},
        "log_level": "error",
    }
    try:
        yield Runtime(admin, folder, json.dumps(config).encode())
    finally:
        await admin.delete(f"/api/v1/nodes/{NODE}")
        await admin.delete(f"{BINDINGS}/{ACCOUNT}")
        await admin.delete(f"/api/v1/namespaces/kube-system/serviceaccounts/{ACCOUNT}")


def _calico(kind: str, name: str, **spec: Any) -> Json:
    return {"apiVersion": "crd.projectcalico.org/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def within(address: str, block: str) -> bool:
    return ip_interface(address).ip in ip_network(block)


async def test_pods_get_addresses_of_their_namespace_alone(stage: Stage, runtime: Runtime) -> None:
    await pools.pool(stage.admin, "real", "10.81.0.0/22")
    tenant = await stage.tenant(
        "real-a", spec(entry("real-a-prod", pool="real"), entry("real-a-test", cidr="10.82.0.0/28"))
    )
    other = await stage.tenant("real-b", spec(entry("real-b-prod", pool="real")))
    await pools.told(tenant, "Given", status="True")
    await pools.told(other, "Given", status="True")
    given = {**await pools.subnets(stage.admin, "real-a"), **await pools.subnets(stage.admin, "real-b")}
    assert pools.apart(cidr for cidrs in given.values() for cidr in cidrs)
    for namespace, (block,) in given.items():
        for number in range(2):
            address = await runtime.born(namespace, f"pod-{number}")
            assert within(address, block), (namespace, address, block)
    # One that is no tenant's draws from the open pool: no subnet is given to whoever comes.
    await stage.admin.create(NAMESPACES, {"metadata": {"name": "real-free"}})
    try:
        assert within(await runtime.born("real-free", "pod"), OPEN)
    finally:
        await stage.admin.delete(f"{NAMESPACES}/real-free")


async def test_a_full_subnet_gives_no_address_of_others(stage: Stage, runtime: Runtime) -> None:
    tenant = await stage.tenant("real-small", spec(entry("real-small-a", cidr="10.83.0.0/30")))
    await pools.told(tenant, "Given", status="True")
    addresses = [await runtime.born("real-small-a", f"pod-{number}") for number in range(4)]
    assert sorted(addresses) == ["10.83.0.0", "10.83.0.1", "10.83.0.2", "10.83.0.3"]
    with pytest.raises(RefusedError):
        await runtime.born("real-small-a", "one-too-many")


async def test_after_tampering_pods_are_in_their_subnet_again(stage: Stage, runtime: Runtime) -> None:
    """The annotation that binds the namespace is taken away by one who may (the lock is off): it is put back, and the
    next pod is where it belongs."""
    tenant = await stage.tenant(
        "real-tamper", spec(entry("real-tamper-a", cidr="10.84.0.0/28"), locks={"namespaces": False})
    )
    await pools.told(tenant, "Given", status="True")
    key = "cni.projectcalico.org/ipv4pools"
    await stage.admin.patch(f"{NAMESPACES}/real-tamper-a", {"metadata": {"annotations": {key: '["open"]'}}})

    async def is_put_back() -> bool:
        found = await stage.admin.get(f"{NAMESPACES}/real-tamper-a")
        return bool(found["metadata"]["annotations"].get(key) == json.dumps([f"{PREFIX}real-tamper-a"]))

    await wait_for(is_put_back, 20, "the binding to be put back")
    assert within(await runtime.born("real-tamper-a", "pod"), "10.84.0.0/28")
