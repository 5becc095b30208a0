"""A test double of Kube-OVN on a real API server: what its controller does with Subnets, namespaces and pods.

    async with kube_ovn.run(plane) as controller: ...

No packet is carried. What it does was seen of the controller of v1.17.0, unless marked as assumed:

Subnets
- Filled in where it is not given: default, enableLb, excludeIps, gateway (the first address), gatewayNode, gatewayType,
  natOutgoing, private, protocol, provider, u2oFeatures, vpc. Rewritten: cidrBlock loses host bits and the upper case of
  IPv6; excludeIps gets the gateway, without doubles and sorted. So the generation becomes 2. Finalizer `FINALIZER`.
- Conditions Validated and Ready. Error=True stays for ever, with its old message. A bare IP or upper-case IPv6 in
  allowSubnets: Validated=False. A vpc that does not exist: no Ready at all. A cidrBlock that is none: no status at all.
  A gateway outside the cidrBlock: Validated=False (assumed). An acl's match is not looked at.
- Overlap with another Subnet (`join` too) or a node's address, never with Services: the API accepts it, the newcomer is
  Ready=False, and its pods get no address. The old one freezes: it stays Ready, and its next change, which may take
  something back, does not take effect (Ready=False) until the newcomer is gone. `enforced` has what is in effect.
- It makes `join` and `ovn-default`.
- Deletion: the finalizer holds while pods have addresses of it, and new ones still get some. Then its namespaces fall
  back to `ovn-default`, which is not private. `namespaces: []` does the same.

Namespaces
- A Subnet binds them by `namespaces` and `namespaceSelectors`, and may name one that does not exist yet. Every
  namespace has the annotations logical_switch (names joined by ","), cidr, exclude_ips (joined by ";") and ip_pool;
  unbound ones those of `ovn-default`. Rewritten where logical_switch is missing; what others wrote there stays until
  the binding changes (assumed: or the controller restarts).

Pods
- One that is not on the host's network gets an address of its own annotation logical_switch, or of its namespace's, and
  its annotations. Born earlier, it stays where it is for life. Of a namespace in two Subnets: one or the other.

Not here: Vpcs, IPPools, IPs, what is written on Nodes and Services.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final

import aiohttp

from sandbox.client import MERGE_PATCH, Admin, ApiError, wait_for
from sandbox.plane import Plane

CRD: Final = Path(__file__).with_name("kube_ovn_subnets.yaml")
SUBNETS: Final = "/apis/kubeovn.io/v1/subnets"
MANAGER: Final = "kube-ovn-controller"
FINALIZER: Final = "kubeovn.io/kube-ovn-controller"
#: Whose requests these are.
ACCOUNT: Final = "system:serviceaccount:kube-system:ovn"
PREFIX: Final = "ovn.kubernetes.io/"
SWITCH: Final = f"{PREFIX}logical_switch"
DEFAULT: Final = "ovn-default"
JOIN: Final = "join"
OWN: Final = {DEFAULT: "10.16.0.0/16", JOIN: "100.64.0.0/16"}
VPC: Final = "ovn-cluster"

_NAMESPACES: Final = "/api/v1/namespaces"
_PODS: Final = "/api/v1/pods"
_CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_FREE: Final = {"metadata": {"finalizers": None}}
_AGAIN: Final = 0.5  # seconds until what failed is tried again without any event

Json = dict[str, Any]
Network = IPv4Network | IPv6Network


async def install(admin: Admin) -> None:
    """Make Subnets known to the API server, and wait until they are served."""
    await admin.apply(CRD)

    async def is_served() -> bool:
        return (await admin.request("GET", SUBNETS, params={"limit": "1"}))[0] == 200

    await wait_for(is_served, 20, "Subnets of kubeovn.io to be served")


async def uninstall(admin: Admin) -> None:
    """Take them away again, whatever holds them, and what was written on namespaces."""
    await admin.delete(f"{_CRDS}/subnets.kubeovn.io")

    async def is_gone() -> bool:
        status, listed = await admin.request("GET", SUBNETS)
        for subnet in listed["items"] if status == 200 else ():
            await admin.request("PATCH", f"{SUBNETS}/{_key(subnet)}", _FREE, content_type=MERGE_PATCH)
        return status == 404

    await wait_for(is_gone, 20, "Subnets of kubeovn.io to be gone")
    for namespace in (await admin.get(_NAMESPACES))["items"]:
        written = {key: None for key in namespace["metadata"].get("annotations", {}) if key.startswith(PREFIX)}
        if written:
            await admin.patch(f"{_NAMESPACES}/{_key(namespace)}", {"metadata": {"annotations": written}})


@contextlib.asynccontextmanager
async def run(plane: Plane) -> AsyncIterator["KubeOvn"]:
    """The controller, until the end of the block; it returns at once. `install` comes before."""
    async with Admin(plane, user=ACCOUNT, groups=["system:masters"]) as admin:
        controller = KubeOvn(admin)
        tasks = [asyncio.create_task(each) for each in controller.tasks()]
        try:
            yield controller
        finally:
            for task in tasks:
                task.cancel()
            for error in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(error, Exception):
                    raise error


class KubeOvn:
    """`enforced`: by name, the specs of Subnets that took effect."""

    def __init__(self, admin: Admin) -> None:
        self.enforced: dict[str, Json] = {}
        self._admin = admin
        self._seen: dict[str, dict[str, Json]] = {SUBNETS: {}, _NAMESPACES: {}, _PODS: {}}
        self._listed: set[str] = set()
        self._wake = asyncio.Event()
        self._done: dict[str, tuple[str, int]] = {}  # by Subnet: the UID and generation that took effect
        self._bound: dict[str, str] = {}  # by namespace: the switch when it was last looked at
        self._turn = itertools.count()

    def tasks(self) -> Iterator[Any]:
        yield from (self._follow(path) for path in self._seen)
        yield self._work()

    async def _follow(self, path: str) -> None:
        """Keep what is known of a collection, for ever."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, ApiError):
                listed = await self._admin.get(path)
                self._seen[path] = {_key(item): item for item in listed["items"]}
                self._listed.add(path)
                self._wake.set()
                async for kind, item in self._admin.watch(path, listed["metadata"]["resourceVersion"]):
                    if kind == "DELETED":
                        self._seen[path].pop(_key(item), None)
                    else:
                        self._seen[path][_key(item)] = item
                    self._wake.set()
            await asyncio.sleep(_AGAIN)

    async def _work(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN):
                    await self._wake.wait()
            self._wake.clear()
            if len(self._listed) == len(self._seen):
                # What was refused, or changed meanwhile, has its turn again.
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    await self._round()

    async def _round(self) -> None:
        subnets = self._seen[SUBNETS]
        for name, block in OWN.items():
            if name not in subnets:
                spec = {"cidrBlock": block, "default": name == DEFAULT}
                body = {"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": name}, "spec": spec}
                await self._try(self._admin.create(SUBNETS, body))
        for name in self._done.keys() - subnets.keys():
            del self._done[name], self.enforced[name]
        for subnet in sorted(subnets.values(), key=lambda one: (one["metadata"]["creationTimestamp"], _key(one))):
            await self._try(self._subnet(subnet))
        for namespace in list(self._seen[_NAMESPACES].values()):
            await self._try(self._namespace(namespace))
        for pod in list(self._seen[_PODS].values()):
            await self._try(self._pod(pod))

    async def _try(self, doing: Any) -> None:
        try:
            await doing
        except ApiError as error:
            # 403: while the CRD is being deleted nothing can be made.
            if error.status not in (403, 404, 409) and error.status < 500:
                raise

    # --- Subnets

    async def _subnet(self, subnet: Json) -> None:
        metadata, spec = subnet["metadata"], subnet.get("spec", {})
        name, held = metadata["name"], FINALIZER in metadata.get("finalizers", ())
        if "deletionTimestamp" in metadata:
            if held and not any(_annotation(pod, "logical_switch") == name for pod in self._living()):
                left = [one for one in metadata["finalizers"] if one != FINALIZER]
                await self._patch(f"{SUBNETS}/{name}", subnet, {"metadata": {"finalizers": left}})
            return
        blocks = _networks(spec.get("cidrBlock", ""))
        if not blocks:
            return
        filled = _filled(spec, blocks)
        if filled != spec or not held:
            finalizers = [*metadata.get("finalizers", ()), *([] if held else [FINALIZER])]
            await self._patch(f"{SUBNETS}/{name}", subnet, {"metadata": {"finalizers": finalizers}, "spec": filled})
            return
        version = (metadata["uid"], metadata["generation"])
        if self._done.get(name) == version:
            return
        if wrong := _invalid(spec, blocks):
            await self._tell(subnet, validated=wrong)
        elif spec["vpc"] != VPC:
            await self._tell(subnet, is_ready=None)
        elif wrong := await self._overlap(name, blocks):
            await self._tell(subnet, ready=wrong)
        else:
            self._done[name], self.enforced[name] = version, spec
            await self._tell(subnet)

    async def _overlap(self, name: str, blocks: list[Network]) -> str:
        for other, subnet in self._seen[SUBNETS].items():
            for theirs in _networks(subnet.get("spec", {}).get("cidrBlock", "")) if other != name else ():
                for mine in blocks:
                    if mine.version == theirs.version and mine.overlaps(theirs):
                        return f"subnet {name} cidr {mine} is conflict with subnet {other} cidr {theirs}"
        for node in (await self._admin.get("/api/v1/nodes"))["items"]:
            for one in node["status"].get("addresses", ()):
                if one["type"] == "InternalIP" and any(ip_address(one["address"]) in mine for mine in blocks):
                    return f"subnet {name} cidr {_joined(blocks)} conflict with node {_key(node)} address"
        return ""

    async def _tell(self, subnet: Json, validated: str = "", ready: str = "", *, is_ready: bool | None = True) -> None:
        """Write the conditions, unless they say so already. `validated`, `ready`: why it is not."""
        before = {one["type"]: one for one in subnet.get("status", {}).get("conditions", ())}
        problem = validated or ready
        said = {"Validated": ("False", validated) if validated else ("True", "")}
        if is_ready is not None:
            said["Ready"] = ("False", problem) if problem else ("True", "")
        if problem:
            said["Error"] = ("True", problem)
        if all(
            (before.get(kind, {}).get("status"), before.get(kind, {}).get("message")) == said[kind] for kind in said
        ):
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        reason = "ValidateLogicalSwitchFailed" if problem else "SetPrivateLogicalSwitchSuccess"
        for kind, (status, message) in said.items():
            times = {"lastUpdateTime": now, "lastTransitionTime": now}
            before[kind] = {"type": kind, "status": status, "reason": reason, "message": message, **times}
        path = f"{SUBNETS}/{_key(subnet)}/status"
        await self._patch(path, subnet, {"status": {"conditions": list(before.values())}})

    # --- namespaces

    async def _namespace(self, namespace: Json) -> None:
        metadata = namespace["metadata"]
        name = metadata["name"]
        if "deletionTimestamp" in metadata:
            self._bound.pop(name, None)
            return
        subnets = [self._seen[SUBNETS][one] for one in self._switches(namespace) if one in self._seen[SUBNETS]]
        if not subnets or any("gateway" not in one["spec"] for one in subnets):
            return  # not filled in yet
        switch = ",".join(map(_key, subnets))
        wanted = {
            SWITCH: switch,
            f"{PREFIX}cidr": ";".join(one["spec"]["cidrBlock"] for one in subnets),
            f"{PREFIX}exclude_ips": ";".join(",".join(one["spec"]["excludeIps"]) for one in subnets),
            f"{PREFIX}ip_pool": "",
        }
        have = metadata.get("annotations", {})
        if self._bound.get(name) == switch and have.get(SWITCH):
            return
        if {key: have.get(key) for key in wanted} != wanted:
            try:
                await self._patch(f"{_NAMESPACES}/{name}", None, {"metadata": {"annotations": wanted}})
            except ApiError as error:
                if error.status != 404:  # it is gone
                    raise
                return
        self._bound[name] = switch

    def _switches(self, namespace: Json) -> list[str]:
        metadata = namespace["metadata"]
        labels = metadata.get("labels", {})
        bound = [
            name
            for name, subnet in sorted(self._seen[SUBNETS].items())
            if metadata["name"] in subnet.get("spec", {}).get("namespaces", ())
            or any(_matches(each, labels) for each in subnet.get("spec", {}).get("namespaceSelectors", ()))
        ]
        return bound or [DEFAULT]

    # --- pods

    def _living(self) -> list[Json]:
        """The pods that have an address."""
        ended = ("Succeeded", "Failed")
        pods = self._seen[_PODS].values()
        return [pod for pod in pods if _annotation(pod, "allocated") and pod["status"].get("phase") not in ended]

    async def _pod(self, pod: Json) -> None:
        metadata, namespace = pod["metadata"], self._seen[_NAMESPACES].get(pod["metadata"]["namespace"])
        if "deletionTimestamp" in metadata or _annotation(pod, "allocated") or pod["spec"].get("hostNetwork"):
            return
        switches = _annotation(pod, "logical_switch") or (_annotation(namespace, "logical_switch") if namespace else "")
        if not switches:
            return
        names = switches.split(",")
        name = names[next(self._turn) % len(names)]
        spec = self.enforced.get(name)
        if spec is None:
            return
        addresses = list(self._addresses(name, spec))
        if not addresses:
            return
        written = {
            "allocated": "true",
            "cidr": spec["cidrBlock"],
            "gateway": spec["gateway"],
            "ip_address": ",".join(addresses),
            "logical_router": VPC,
            "logical_switch": name,
            "mac_address": "02:00:" + ":".join(f"{byte:02x}" for byte in next(self._turn).to_bytes(4)),
            "pod_nic_type": "veth-pair",
            "routed": "true",
        }
        path = f"{_NAMESPACES}/{metadata['namespace']}/pods/{metadata['name']}"
        annotations = {PREFIX + key: value for key, value in written.items()}
        # Known at once: the next pod of this round gets another address.
        self._seen[_PODS][_key(pod)] = await self._patch(path, None, {"metadata": {"annotations": annotations}})

    def _addresses(self, name: str, spec: Json) -> Iterator[str]:
        """The lowest free address of each block."""
        used = {one for pod in self._living() for one in _annotation(pod, "ip_address").split(",")}
        used |= set(spec["excludeIps"])
        for block in _networks(spec["cidrBlock"]):
            free = (str(one) for one in block.hosts() if str(one) not in used)
            yield from itertools.islice(free, 1)

    async def _patch(self, path: str, seen: Json | None, body: Json) -> Json:
        """A merge patch; `seen`: only if the object is still as it was seen."""
        if seen is not None:
            version = {"resourceVersion": seen["metadata"]["resourceVersion"]}
            body = {**body, "metadata": {**body.get("metadata", {}), **version}}
        answer: Json = await self._admin.patch(path, body, MERGE_PATCH, params={"fieldManager": MANAGER})
        return answer


def _key(item: Json) -> str:
    """Its name, after its namespace if it is in one."""
    metadata = item["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if "namespace" in metadata else str(metadata["name"])


def _annotation(item: Json, name: str) -> str:
    return str(item["metadata"].get("annotations", {}).get(PREFIX + name, ""))


def _networks(text: str) -> list[Network]:
    """The blocks of a cidrBlock without their host bits; [] if one is none."""
    try:
        return [ip_network(one, strict=False) for one in text.split(",")]
    except ValueError:
        return []


def _joined(blocks: list[Network]) -> str:
    return ",".join(map(str, blocks))


def _filled(spec: Json, blocks: list[Network]) -> Json:
    """A spec as the controller writes it back."""
    versions = {block.version for block in blocks}
    gateway = spec.get("gateway") or ",".join(str(block[1]) for block in blocks)
    defaults = {
        "default": False,
        "enableLb": True,
        "gatewayNode": "",
        "gatewayType": "distributed",
        "natOutgoing": False,
        "private": False,
        "protocol": "Dual" if len(versions) == 2 else f"IPv{versions.pop()}",
        "provider": "ovn",
        "u2oFeatures": {},
        "vpc": VPC,
    }
    excluded = sorted({*spec.get("excludeIps", ()), *gateway.split(",")})
    return {**defaults, **spec, "cidrBlock": _joined(blocks), "gateway": gateway, "excludeIps": excluded}


def _invalid(spec: Json, blocks: list[Network]) -> str:
    """Why a Subnet is not Validated."""
    for text in spec.get("allowSubnets", ()):
        if "/" not in text or text != text.lower() or not _networks(text):
            return f"{text} in allowSubnets is not a valid address"
    for text in spec["gateway"].split(","):
        if not any(ip_address(text) in block for block in blocks):
            return f"gateway {text} is not in the range of cidr {_joined(blocks)}"
    return ""


def _matches(selector: Json, labels: dict[str, str]) -> bool:
    """A label selector; an empty one matches all (assumed)."""
    given = selector.get("matchLabels", {}).items()
    return given <= labels.items() and all(_holds(rule, labels) for rule in selector.get("matchExpressions", ()))


def _holds(rule: Json, labels: dict[str, str]) -> bool:
    is_in, is_there = labels.get(rule["key"]) in rule.get("values", ()), rule["key"] in labels
    return {"In": is_in, "NotIn": not is_in, "Exists": is_there, "DoesNotExist": not is_there}[rule["operator"]]
