"""Candidates for one Lease of the control plane, and what they ask it for."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox import credentials
from sandbox.operator import operator_token
from securetenant.kube.lease import Elector
from securetenant.kube.transport import NotFound, OnRequest, Transport
from securetenant.model.kinds import LEASE
from securetenant.model.objects import Json, Ref
from tests.support.kube import transport_to, until
from tests.support.sandbox import Admin, Plane, wait_for

SPACE = "default"
_number = itertools.count()


@dataclass
class Asked:
    """The verbs of the requests that were granted, in order."""

    verbs: list[str] = field(default_factory=list)

    def hear(self, verb: str, _kind: str, code: str, _seconds: float) -> None:
        if code.startswith("2"):
            self.verbs.append(verb)

    async def more(self, verb: str, times: int, what: str) -> None:
        """Wait until so many more of these were granted."""
        before = self.verbs.count(verb)
        await until(lambda: self.verbs.count(verb) >= before + times, f"{times} more: {what}")

    async def renewed(self, times: int = 1) -> None:
        """Wait until a Lease was written so many times more."""
        await self.more("update", times, "renewals")


@dataclass
class Election:
    """A Lease of its own. All requests by `transport` are in `asked`."""

    plane: Plane
    transport: Transport
    asked: Asked
    name: str = field(default_factory=lambda: f"lease-{next(_number)}")

    @property
    def ref(self) -> Ref:
        return Ref(LEASE, SPACE, self.name)

    def elector(self, identity: str, transport: Transport | None = None, **options: Any) -> Elector:
        settings = {"duration": 3.0, "renew": 0.5, "retry": 0.2, **options}
        return Elector(transport or self.transport, SPACE, self.name, identity, **settings)

    def reach(
        self, *, server: str = "", on_request: OnRequest = lambda *_: None
    ) -> contextlib.AbstractAsyncContextManager[Transport]:
        """A transport of its own, to another `server` (a proxy before it) if given."""
        return transport_to(self.plane.kubeconfig, server=server, on_request=on_request)

    async def spec(self) -> Json:
        spec = json.loads(await self.transport.get(LEASE, self.ref))["spec"]
        assert isinstance(spec, dict)
        return spec


@contextlib.asynccontextmanager
async def staged(plane: Plane) -> AsyncIterator[Election]:
    asked = Asked()
    async with transport_to(plane.kubeconfig, on_request=asked.hear) as transport:
        election = Election(plane, transport, asked)
        yield election
        with contextlib.suppress(NotFound):
            await transport.delete(LEASE, election.ref)


@contextlib.asynccontextmanager
async def unable_to_watch(plane: Plane, admin: Admin, folder: Path) -> AsyncIterator[tuple[Transport, Asked]]:
    """A transport of somebody who may read and write Leases, and not watch them."""
    name, group = "lease-poller", "rbac.authorization.k8s.io"
    accounts = f"/api/v1/namespaces/{SPACE}/serviceaccounts"
    roles, bindings = (f"/apis/{group}/v1/namespaces/{SPACE}/{plural}" for plural in ("roles", "rolebindings"))
    rule = {"apiGroups": [LEASE.group], "resources": [LEASE.plural], "verbs": ["get", "create", "update"]}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": SPACE}
    metadata = {"name": name}
    await admin.create(accounts, {"metadata": metadata})
    await admin.create(roles, {"metadata": metadata, "rules": [rule]})
    role = {"apiGroup": group, "kind": "Role", "name": name}
    await admin.create(bindings, {"metadata": metadata, "roleRef": role, "subjects": [subject]})
    path, asked = folder / "poller.kubeconfig", Asked()
    token = await operator_token(plane, namespace=SPACE, name=name)
    credentials.write_kubeconfig(path, url=plane.url, ca_file=plane.ca_file, token=token, user=name)
    try:
        async with transport_to(path, on_request=asked.hear) as transport:
            await wait_for(lambda: _is_permitted(transport), 10, "the right to read Leases")
            yield transport, asked
    finally:
        for place in (accounts, roles, bindings):
            await admin.delete(f"{place}/{name}")


async def _is_permitted(transport: Transport) -> bool:
    with contextlib.suppress(NotFound):
        await transport.get(LEASE, Ref(LEASE, SPACE, "none"))
    return True


@contextlib.asynccontextmanager
async def never_both(*electors: Elector) -> AsyncIterator[None]:
    """At no moment of the block are two of them valid. (Each sample is taken at one moment, without an await.)"""
    seen: list[list[str]] = []

    async def look() -> None:
        while True:
            valid = [each.identity for each in electors if each.valid]
            if len(valid) > 1:
                seen.append(valid)
            await asyncio.sleep(0.002)  # sleep: how often it is looked

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
    assert seen == []


@contextlib.asynccontextmanager
async def spawned(*coroutines: Coroutine[Any, Any, Any]) -> AsyncIterator[list["asyncio.Task[None]"]]:
    tasks: list[asyncio.Task[None]] = [asyncio.create_task(each) for each in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
