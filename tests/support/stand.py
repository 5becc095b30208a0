"""An operator behind a proxy that misbehaves, two tenants, and what must hold of them whatever is answered.

async with stand(plane, admin, folder, "faults") as stood:
    await stood.suffers(WATCHES, Answer("404", "status", 404))
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import aiohttp

from sandbox import nodes
from securetenant.controls.lookup import CACHED, OPTIONAL
from securetenant.model.kinds import MUTATING_POLICY, NETWORK_TEMPLATE, SUBNET_POOL, Kind
from tests.support import life
from tests.support.fault import Front, free_lease, front, leads, run_behind
from tests.support.faults import Answer, Fault
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import ROOT, Admin, Operator, Plane, wait_for

#: Seconds from the last bad answer until all is well; from it to the end of the process; and what a request that is
#: not answered may take until it is given up.
WELL: Final = 15.0
EXIT: Final = 30.0
UNANSWERED: Final = 15.0

KINDS: Final = tuple(dict.fromkeys(kind.plural for kind in CACHED))
_GONE: Final = Answer("expired", "event", 410)
_REFUSED: Final = Answer("refused", "status", 404)


@dataclass(frozen=True, slots=True)
class Group:
    """Requests that are all answered badly at once. `before`: what the watches are answered first, so that these
    requests come at all. `sure`: those that have to come; all if it is not given. `first`: those that have to come
    before the others are answered badly. `read`: each has to be answered well after that; a write may have been done.
    """

    name: str
    targets: tuple[str, ...]
    before: tuple[tuple[str, Answer], ...] = ()
    sure: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    read: bool = True

    def of(self, unserved: Collection[str]) -> "Group":
        """Without the requests of kinds that the API server does not serve: they do not come."""

        def comes(target: str) -> bool:
            return target.partition(" ")[0] not in unserved

        targets, sure = (tuple(filter(comes, each)) for each in (self.targets, self.sure))
        return replace(self, targets=targets, sure=sure, before=tuple(each for each in self.before if comes(each[0])))


WATCHES: Final = Group("watches", ("kopf watch", *(f"{kind} watch" for kind in KINDS)))
LISTS: Final = Group(
    "lists",
    ("kopf list", "securetenants list", *(f"{kind} list" for kind in KINDS)),
    (("kopf watch", _GONE), *((f"{kind} watch", _GONE) for kind in KINDS)),
)
DISCOVERY: Final = Group("discovery", ("kopf discovery",), (("kopf watch", _REFUSED),))
WRITES: Final = Group("writes", ("post", "put", "merge", "json", "status", "delete"), read=False)
INJECTION: Final = ROOT / "manifests" / "components" / "injection" / "policy.yaml"
POOL: Final[dict[str, Any]] = {
    "apiVersion": SUBNET_POOL.api_version,
    "kind": SUBNET_POOL.name,
    "metadata": {"name": "faults"},
    "spec": {"cidrs": ["10.95.0.0/16"]},
}
TEMPLATE: Final[dict[str, Any]] = {
    "apiVersion": NETWORK_TEMPLATE.api_version,
    "kind": NETWORK_TEMPLATE.name,
    "metadata": {"name": "faults"},
    "spec": {"ingress": [{"name": "scrape", "from": [{"namespace": "monitoring"}], "ports": [{"port": 9090}]}]},
}
LEASE: Final = Group("lease", ("leases put",))
# For some seconds.
_ONES: Final = ("kopf watch", "kopf list", "kopf discovery", "networkpolicies watch", "networkpolicies list")
KOPF_AND_TWO: Final = Group(
    "a write, kopf and an informer", _ONES, sure=("kopf watch", "networkpolicies watch"), first=("put",)
)
LEASES: Final = Group("all of the Lease", ("leases put", "leases get", "leases post"), sure=("leases put",))


@dataclass
class Stand:
    """`edited` is edited at each fault, `still` never."""

    plane: Plane
    admin: Admin
    proxy: Front
    folder: Path
    name: str
    shortened: Mapping[str, str] = field(default_factory=dict)
    unserved: Collection[str] = ()
    edits: int = 0
    operators: list[Operator] = field(default_factory=list)
    _running: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack, repr=False)

    @property
    def operator(self) -> Operator:
        return self.operators[-1]

    @property
    def edited(self) -> str:
        return f"{self.name}-edited"

    @property
    def still(self) -> str:
        return f"{self.name}-still"

    @property
    def spaces(self) -> tuple[str, str]:
        return f"{self.edited}-a", f"{self.still}-a"

    async def start(self) -> None:
        """Start an operator, as Kubernetes does after one ended."""
        await self._running.aclose()
        self._running = contextlib.AsyncExitStack()
        await free_lease(self.admin)
        env = {"SECURETENANT_LEASE_DURATION": "6", **self.shortened}
        self.operators.append(await self._running.enter_async_context(run_behind(self.proxy, self.folder, env=env)))
        await wait_for(lambda: leads(self.operator), 15, "the operator to lead")

    async def stop(self) -> None:
        self.proxy.faults.clear()
        await self._running.aclose()

    def spec(self, edit: int, space: str) -> Json:
        """The spec after so many edits: each makes a policy, changes one, removes one, relabels the namespace, and
        gives or takes a node."""
        name = space.removesuffix("-a")
        rules = [life.cidr_rule("stays", f"10.{edit % 250}.0.0/16"), life.cidr_rule(f"rule-{edit}", "10.8.0.0/16")]
        return {
            **life.spec(space, network={"ingress": rules}),
            "namespaces": [{"name": space, "labels": {"env": f"e{edit}"}}],
            "nodes": {"selector": {"matchLabels": {"pool": name}}} if edit % 2 == 0 else None,
        }

    async def edit(self) -> None:
        """Past the proxy."""
        self.edits += 1
        await life.edit(self.admin, self.edited, self.spec(self.edits, self.spaces[0]))

    async def is_carried_out(self) -> bool:
        """The spec as it is now stands in the cluster, and the status says so."""
        await life.is_ready(self.admin, self.edited)
        space, edit = self.spaces[0], self.edits
        policies = await self._named(life.CHILDREN["networkpolicies"].format(space))
        rules = {name: item for name, item in policies.items() if name.startswith("securetenant-ingress-")}
        assert set(rules) == {"securetenant-ingress-stays", f"securetenant-ingress-rule-{edit}"}, set(rules)
        assert f"10.{edit % 250}.0.0/16" in str(rules["securetenant-ingress-stays"]["spec"])
        namespace = await self.admin.get(f"{NAMESPACES}/{space}")
        assert namespace["metadata"]["labels"].get("env") == f"e{edit}"
        assert bool(await self._taints(f"{self.edited}-0")) == (edit % 2 == 0)
        return True

    async def closing(self) -> dict[str, Any]:
        """What closes, by path, as nobody but its creation may have written it. Of what is only edited: that it is
        the same object still."""
        found: dict[str, Any] = {f"{self.still}-0": await self._taints(f"{self.still}-0")}
        for space in self.spaces:
            found[space] = (await self.admin.get(f"{NAMESPACES}/{space}"))["metadata"]["uid"]
            for path in life.CHILDREN.values():
                for name, item in (await self._named(path.format(space))).items():
                    if not name.startswith("securetenant-ingress-") or space == self.spaces[1]:
                        content = {key: value for key, value in item.items() if key not in ("metadata", "status")}
                        found[f"{path.format(space)}/{name}"] = (item["metadata"]["uid"], content)
        return found

    async def suffers(self, group: Group, answer: Answer, seconds: float = 0.0) -> float:
        """Answer the group's requests so, once each or for some seconds; edit meanwhile; hold everything to what must
        hold. Returns the seconds from the last bad answer until all was well."""
        group = group.of(self.unserved)
        begun = time.monotonic()
        before, mark, said = await self.closing(), self.proxy.mark(), len(self.operators)
        writes = await self._first(group, answer, seconds)
        faults = [*(_fault(each, answer, seconds) for each in group.targets), *writes]
        leading = [Fault(each, first) for each, first in group.before]
        self.proxy.faults[:] = [*leading, *faults]
        self.proxy.hang_up(*(each for each, _ in group.before), *group.targets)
        await self.edit()
        sure = [fault for fault in faults if fault.target in (group.sure or group.targets)]
        # Writes come one after another, each when the one before is answered or given up.
        waits = UNANSWERED * (1 if group.read else len(group.targets))
        await wait_for(lambda: self._is_given(sure), WELL + waits + seconds, f"{answer.name} to be given")
        left = max(fault.first_at for fault in faults) + seconds - time.monotonic()
        await asyncio.sleep(max(0.0, left))  # sleep: for as long as it is to last
        last = max(fault.last_at for fault in faults)
        allowed = WELL + (UNANSWERED if answer.kind == "silence" else 0.0)
        # A kopf that believes an empty list does not list again, and does no harm.
        read = [
            f
            for f in faults
            if group.read and f not in writes and not (f.target == "kopf list" and answer.kind in ("items", "list"))
        ]
        await self._is_well_by(last + allowed, read)
        took = time.monotonic() - last
        await self._holds(before, mark)
        print(
            f"{group.name} {answer.name}: {sum(fault.given for fault in faults)} times in {last - begun:.1f} s, "
            f"well {took:.1f} s later" + (", by another process" if len(self.operators) > said else ""),
            flush=True,
        )
        return took

    async def _first(self, group: Group, answer: Answer, seconds: float) -> list[Fault]:
        """Let the writes of an edit be answered badly: who does not see an edit does not write."""
        faults = [_fault(each, answer, seconds) for each in group.first]
        if faults:
            self.proxy.faults[:] = faults
            await self.edit()
            await wait_for(lambda: self._is_given(faults), WELL, f"{answer.name} to be given to {group.first}")
        return faults

    def _is_given(self, faults: list[Fault]) -> bool:
        # Who has ended asks for nothing more.
        return all(fault.given for fault in faults) or not self.operator.running

    async def _is_well_by(self, end: float, faults: list[Fault]) -> None:
        """All is well by then, or the process has ended by itself, and another makes it well."""
        try:
            await wait_for(lambda: self._is_well(faults), max(1.0, end - time.monotonic()), "all to be well", every=0.1)
        except _Ended:
            assert self.operator.child.returncode > 0, f"exit {self.operator.child.returncode}"
            assert time.monotonic() < end - WELL + EXIT
            self.proxy.faults.clear()
            await self.start()
            await wait_for(lambda: self._is_well([]), WELL, "all to be well by another process")

    async def _is_well(self, faults: list[Fault]) -> bool:
        if not self.operator.running:
            raise _Ended
        late = [fault.target for fault in faults if fault.given and not fault.over_at]
        assert not late, f"not asked again, or not answered: {late}"
        assert await self.is_carried_out()
        for probe in ("/healthz", "/readyz"):
            try:
                code, text = await self.operator.get(probe)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise AssertionError(repr(error)) from error
            assert code == 200, text
        return True

    async def _holds(self, before: dict[str, Any], mark: int) -> None:
        """Nothing that closes went or was touched, nothing was deleted but the old rule, and no drift was counted."""
        now = await self.closing()
        assert now == before, {path: (before.get(path), now.get(path)) for path in {*before, *now}}
        rule = f"{life.CHILDREN['networkpolicies'].format(self.spaces[0])}/securetenant-ingress-rule-"
        deleted = {seen.path for seen in self.proxy.since(mark) if seen.method == "DELETE"}
        assert deleted <= {f"{rule}{self.edits - 1}", f"{rule}{self.edits - 2}"}, deleted
        touched = [seen for seen in self.proxy.since(mark) if seen.is_write and seen.concerns(self.still)]
        assert [seen for seen in touched if not seen.path.endswith("/status")] == []
        for operator in self.operators:
            told = [line for line in operator.log.read_text(errors="replace").splitlines() if "drift detected" in line]
            assert told == []
        for name in (self.edited, self.still):
            assert await life.drift(self.operator, name) == {}
            lag = {"tenant": name}
            assert await self.operator.metric("securetenant_tenant_generation_lag", **lag) == 0

    async def _named(self, collection: str) -> dict[str, Json]:
        return {item["metadata"]["name"]: item for item in (await self.admin.get(collection))["items"]}

    async def _taints(self, node: str) -> list[Json]:
        taints = (await self.admin.get(f"/api/v1/nodes/{node}"))["spec"].get("taints", [])
        return [taint for taint in taints if taint["key"].startswith("securetenant.dev/")]


def _fault(target: str, answer: Answer, seconds: float) -> Fault:
    return Fault(target, answer, seconds, first_at=time.monotonic() if seconds else 0.0)


class _Ended(Exception):
    """The operator's process is over."""


@asynccontextmanager
async def stand(
    plane: Plane, admin: Admin, folder: Path, name: str, shortened: Mapping[str, str] | None = None
) -> AsyncIterator[Stand]:
    """Everything made, and Ready. Needs the right over nodes. `shortened`: as `shortened.shortened` gives it."""
    async with front(plane) as proxy:
        absent = [kind for kind in OPTIONAL if not await _is_served(admin, kind)]
        # Two kinds may have the same plural.
        unserved = {kind.plural for kind in absent} - {kind.plural for kind in CACHED if kind not in absent}
        has_injection = MUTATING_POLICY not in absent
        stood = Stand(plane, admin, proxy, folder, name, shortened or {}, unserved)
        tenants = (stood.edited, stood.still)
        made: list[str] = []
        try:
            # So that no kind that is watched has no objects: a list of nothing is believed where nothing was.
            if has_injection:
                await admin.apply(INJECTION)
            await admin.apply(POOL)
            await admin.apply(TEMPLATE)
            for tenant in tenants:
                made += await asyncio.to_thread(nodes.create, plane, 1, {"pool": tenant}, prefix=tenant)
            await stood.start()
            for tenant, space in zip(tenants, stood.spaces, strict=True):
                await life.create(admin, tenant, stood.spec(0, space))
            for tenant in tenants:
                await life.ready(admin, tenant)
            yield stood
        finally:
            await stood.stop()
            await free_lease(admin)
            await life.remove(admin, *tenants)
            for node in made:
                await admin.delete(f"/api/v1/nodes/{node}")
            await admin.delete(f"{SUBNET_POOL.path()}/{POOL['metadata']['name']}")
            await admin.delete(f"{NETWORK_TEMPLATE.path()}/{TEMPLATE['metadata']['name']}")
            if has_injection:
                await admin.kubectl("delete", "--ignore-not-found", "-f", str(INJECTION))


async def _is_served(admin: Admin, kind: Kind) -> bool:
    status, _ = await admin.request("GET", kind.path(), params={"limit": "1"})
    return status == 200
