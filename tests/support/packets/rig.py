"""Pods that are network namespaces, on one node, with the enforcer between them and a cluster's real policies.

The node's namespace routes between all: whatever goes from one to another takes its chain FORWARD, where one rule
hands each new connection to kube-network-policies. It alone decides, by what it reads from the API server: at both
ends, whichever Node a pod is bound to.
"""

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final

from sandbox import credentials, nodes, process
from tests.support import pods
from tests.support.cni.values import Address, Call, End
from tests.support.life import Json
from tests.support.packets import calls
from tests.support.packets.calls import Attempt, Place
from tests.support.packets.netns import Netns
from tests.support.proxy import Proxy
from tests.support.sandbox import Admin, ApiError, Plane, wait_for

QUEUE: Final = 100  # what kube-network-policies reads
NODE: Final = "packets-0"
_HERE: Final = {"kubernetes.io/hostname": NODE}
CONTROL: Final = "packets-control"  # a namespace without policies: there everything passes while the enforcer works
_GATEWAY: Final = {4: "169.254.1.1", 6: "fe80::1"}
_POD: Final = {4: int(IPv4Address("10.231.0.0")), 6: int(IPv6Address("fd00:10:231::"))}
_FLAGS: Final = (
    *("--disable-nri", "--fail-open=false", "--strict-mode=false", "--netfilter-bug-1766-fix=false", "--v=1"),
    "--metrics-bind-address=127.0.0.1:9080",
)
_KNOWN: Final = Call("TCP", 7)


@dataclass
class Rig:
    """The node, and the places that are connected to it."""

    admin: Admin
    node: Netns
    program: Path
    log: Path
    kubeconfig: Path
    places: dict[str, Place] = field(default_factory=dict)
    _servers: list[socket.socket] = field(default_factory=list)
    _enforcer: subprocess.Popen[bytes] | None = None
    _numbers: int = 0
    _links: int = 0

    async def pod(
        self,
        namespace: str,
        name: str,
        labels: Mapping[str, str],
        served: Iterable[Call],
        named: Mapping[str, Call] | None = None,
        image: str = pods.IMAGE,
        **fields: Any,
    ) -> Place:
        """A pod of that namespace, called "namespace/name", that answers these calls. `named`: its ports by name;
        `fields`: of its spec."""
        place = self.place(f"{namespace}/{name}", labels, served, named)
        await self.run(place, image, **fields)
        return place

    def place(
        self, name: str, labels: Mapping[str, str], served: Iterable[Call], named: Mapping[str, Call] | None = None
    ) -> Place:
        """What becomes a pod once it is run: connected, with addresses that no other has."""
        self._numbers += 1
        known = (IPv4Address(_POD[4] + self._numbers), IPv6Address(_POD[6] + self._numbers))
        end = End(known, name.partition("/")[0], labels, node=NODE, named=named or {})
        return self.connected(name, end, served)

    async def run(self, place: Place, image: str = pods.IMAGE, by: Admin | None = None, **fields: Any) -> Json:
        """Create the pod of a place that is connected already, and write its addresses into its status; the pod as it
        was created. `by`: who creates it, as soon as he may."""
        path = f"/api/v1/namespaces/{place.end.namespace}/pods"
        name = place.name.rpartition("/")[2]
        metadata = {"name": name, "labels": dict(place.end.labels)}
        await wait_for(lambda: _has_account(self.admin, place.end.namespace), 20, f"an account for {place.name}")
        ports = [{"name": k, "protocol": v.protocol, "containerPort": v.port} for k, v in place.end.named.items()]
        container = {**pods.CONTAINER, "image": image, "imagePullPolicy": "Always", "ports": ports}
        spec = pods.spec(**{"containers": [container], "nodeSelector": _HERE, **fields})
        body = {"metadata": metadata, "spec": spec}
        created: Json = await wait_for(lambda: _taken(by or self.admin, path, body), 20, f"{place.name} to be taken")

        async def is_running() -> bool:
            return bool((await self.admin.get(f"{path}/{name}"))["status"].get("podIPs"))

        # kwok gives it an address of IPv4 alone, once.
        await wait_for(is_running, 20, f"{place.name} to run")
        told = [{"ip": str(one)} for one in place.end.addresses]
        await self.admin.patch(f"{path}/{name}/status", {"status": {"podIP": told[0]["ip"], "podIPs": told}})
        return created

    def outside(self, name: str, addresses: Iterable[Address], served: Iterable[Call]) -> list[Place]:
        """One machine outside the cluster that has all these addresses: a place for each, named by it."""
        whole = self.connected(name, End(tuple(addresses)), served)
        del self.places[name]
        parts = [Place(str(one), End((one,)), whole.netns) for one in whole.end.addresses]
        self.places |= {part.name: part for part in parts}
        return parts

    def connected(self, name: str, end: End, served: Iterable[Call]) -> Place:
        """A network namespace with the addresses of this end, behind the node, that answers these calls."""
        netns = Netns()
        place = Place(name, end, netns)
        self._links += 1
        link = f"veth{self._links}"
        self.node.links(
            f"link add {link} type veth peer name eth0 netns {netns.path}",
            f"addr add {_GATEWAY[4]}/32 dev {link}",
            f"addr add {_GATEWAY[6]}/64 dev {link} nodad",
            f"link set {link} up",
        )
        netns.links(
            "link set eth0 up",
            *(f"addr add {one} dev eth0 {'nodad' if one.version == 6 else ''}" for one in end.addresses),
            f"route add {_GATEWAY[4]} dev eth0 scope link",
            f"route add default via {_GATEWAY[4]} dev eth0",
            f"route add ::/0 via {_GATEWAY[6]} dev eth0",
        )
        self.node.links(*(f"route add {one} dev {link}" for one in end.addresses))
        self.places[name] = place
        self._servers += calls.serve(place, served)
        return place

    async def enforce(self) -> None:
        """Start the enforcer, and wait until it lets pass what no policy forbids."""
        assert self._enforcer is None
        self._enforcer = self._started()
        await wait_for(self.is_enforcing, 60, f"the enforcer to let pass what no policy forbids ({self.log})")

    def _started(self) -> subprocess.Popen[bytes]:
        flags = (*_FLAGS, f"--kubeconfig={self.kubeconfig}", f"--hostname-override={NODE}")
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self.node.command(str(self.program), *flags),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=process.die_with_parent(),  # forked by the loop's thread, which outlives it
            )

    def stop_enforcing(self) -> None:
        """End the enforcer: from now on nothing new passes."""
        if self._enforcer is not None:
            self._enforcer.kill()
            self._enforcer.wait()
            self._enforcer = None

    async def is_enforcing(self) -> bool:
        assert self._enforcer is not None
        assert self._enforcer.poll() is None, f"the enforcer ended ({self._enforcer.returncode}): {self.log}"
        return await calls.connects(self.control, calls.BLOCKED)

    @property
    def control(self) -> Attempt:
        """A connection that no policy forbids."""
        return Attempt(self.places[f"{CONTROL}/a"], self.places[f"{CONTROL}/b"], _KNOWN)

    def overflowed(self) -> int:
        """Packets that were dropped because the queue was full, and that nobody judged.

        (The kernel's nfnetlink_queue_seq_show: the sixth and seventh columns.)
        """
        table = self.node.inside(lambda: Path("/proc/thread-self/net/netfilter/nfnetlink_queue").read_text())
        return sum(int(number) for line in table.splitlines() for number in line.split()[5:7])

    def remove(self, places: Iterable[Place]) -> None:
        """Let go of these places, all of a machine at once; their pods are the API server's affair."""
        gone = list(places)
        addresses = {str(address) for place in gone for address in place.end.addresses}
        silenced = [one for one in self._servers if one.getsockname()[0] in addresses]
        calls.silence(silenced)
        self._servers = [one for one in self._servers if one not in silenced]
        for place in gone:
            del self.places[place.name]
        for netns in {id(one.netns): one.netns for one in gone}.values():
            netns.close()

    def close(self) -> None:
        self.stop_enforcing()
        self.remove([*self.places.values()])
        self.node.close()


@asynccontextmanager
async def rig(plane: Plane, admin: Admin, program: Path, folder: Path) -> AsyncIterator[Rig]:
    """A node on which `program` enforces, for the block; of what it made, pods in others' namespaces outlive it."""
    node = Netns()
    made = Rig(admin, node, program, folder / "kube-network-policies.log", folder / "enforcer.kubeconfig")
    try:
        for setting in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            node.set(setting, "1")
        node.queue_new(QUEUE)
        listening = node.inside(lambda: socket.create_server(("127.0.0.1", 0)))
        async with Proxy(plane.url, listening=listening) as proxy:
            credentials.write_kubeconfig(made.kubeconfig, url=proxy.url, ca_file=plane.ca_file, token=plane.admin_token)
            await asyncio.to_thread(nodes.create, plane, 1, prefix="packets")
            await admin.create("/api/v1/namespaces", {"metadata": {"name": CONTROL}})
            for name in ("a", "b"):
                await made.pod(CONTROL, name, {}, [_KNOWN])
            await made.enforce()
            yield made
            assert made.overflowed() == 0, "packets were dropped that the enforcer did not judge"
            made.stop_enforcing()
    finally:
        made.close()
        with contextlib.suppress(ApiError):
            await admin.delete(f"/api/v1/namespaces/{CONTROL}")
            await admin.delete(f"/api/v1/nodes/{NODE}")


async def _taken(client: Admin, path: str, body: Json) -> Json:
    """The created object; AssertionError where it is refused (as yet)."""
    status, created = await client.request("POST", path, body)
    assert status == 201, created
    return dict(created)


async def _has_account(admin: Admin, namespace: str) -> bool:
    """Without it the API server takes no pod there."""
    return await admin.find(f"/api/v1/namespaces/{namespace}/serviceaccounts/default") is not None
