"""Operators behind a proxy, and strangers who make namespaces of the names that tenants want."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import life
from tests.support.fault import Front, Seen, dead, free_lease, front, run_behind
from tests.support.life import NAMESPACES, Json
from tests.support.sandbox import Admin, Operator, Plane, wait_for


@dataclass
class Stage:
    """One operator at a time behind one proxy."""

    admin: Admin
    proxy: Front
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    operator: Operator | None = None
    names: list[str] = field(default_factory=list)

    @property
    def running(self) -> Operator:
        assert self.operator is not None
        return self.operator

    async def start(self) -> Operator:
        self.operator = await self.stack.enter_async_context(run_behind(self.proxy, self.folder, env=self.env))
        return self.operator

    async def restart(self) -> Operator:
        """After a death."""
        await dead(self.running)
        self.proxy.disarm()
        await free_lease(self.admin)
        return await self.start()

    async def kill(self) -> None:
        if self.operator is not None and self.operator.running:
            self.operator.child.kill()
            await dead(self.operator)
        await free_lease(self.admin)

    async def create(self, name: str, *namespaces: str, **other: Any) -> None:
        self.names.append(name)
        await life.create(self.admin, name, {"namespaces": [{"name": n} for n in namespaces], **other})

    async def uid(self, namespace: str) -> str:
        return str((await self.admin.get(f"{NAMESPACES}/{namespace}"))["metadata"]["uid"])

    async def recorded(self, name: str) -> dict[str, str]:
        """The UIDs in a tenant's status."""
        entries = (await life.get(self.admin, name)).get("status", {}).get("namespaces", [])
        return {entry["name"]: entry.get("uid", "") for entry in entries}

    async def refused(self, name: str, word: str = "") -> None:
        """Wait until the tenant says that a namespace is not its own, and why."""

        async def is_refused() -> bool:
            told = life.condition(await life.get(self.admin, name), "NamespacesReady")
            return told.get("reason") == "NotOwned" and word in told["message"]

        await wait_for(is_refused, 30, f"{name} to be refused a namespace: {word}")


@asynccontextmanager
async def stage(plane: Plane, admin: Admin, folder: Path, *, env: dict[str, str] | None = None) -> AsyncIterator[Stage]:
    """None runs yet. The tenants that were made are removed at the end, with the namespaces named after them."""
    async with front(plane) as proxy:
        stage = Stage(admin, proxy, folder, env or {})
        try:
            async with stage.stack:
                yield stage
        finally:
            await free_lease(admin)
            await life.remove(admin, *stage.names)


async def stranger(admin: Admin, name: str, **metadata: Any) -> Json | None:
    """A namespace that somebody else makes; None if it is there already."""
    status, answer = await admin.request("POST", NAMESPACES, {"metadata": {"name": name, **metadata}})
    assert status in (201, 409), answer
    return answer if status == 201 else None


async def remade(admin: Admin, name: str, **metadata: Any) -> Json:
    """A namespace is deleted, and somebody makes another of that name as soon as it is gone."""
    await admin.delete(f"{NAMESPACES}/{name}")
    await life.gone(admin, f"{NAMESPACES}/{name}")
    made = await stranger(admin, name, **metadata)
    assert made is not None
    return made


def untouched(made: Json, now: Json) -> bool:
    """Whether nobody but the API server wrote to it."""
    aside = ("resourceVersion", "managedFields")
    before, after = ({k: v for k, v in item["metadata"].items() if k not in aside} for item in (made, now))
    return before == after


async def each(names: Iterable[str], act: Callable[[str], Awaitable[Any]]) -> None:
    await asyncio.gather(*map(act, names))


@dataclass
class Racer:
    """Somebody who creates each namespace in the moment in which the operator does: first, or (those of these
    SecureTenants) at the same time."""

    admin: Admin
    close: Collection[str] = ()
    made: dict[str, Json] = field(default_factory=dict)
    races: int = 0
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def __call__(self, seen: Seen) -> None:
        if (seen.method, seen.path) != ("POST", NAMESPACES):
            return
        metadata = json.loads(seen.body)["metadata"]
        name = metadata["name"]
        if name in self.made:
            return
        self.races += 1
        task = asyncio.create_task(self._make(name))
        self._tasks.add(task)
        if metadata["labels"]["securetenant.dev/tenant"] not in self.close:
            await task

    async def _make(self, name: str) -> None:
        if (answer := await stranger(self.admin, name)) is not None:
            self.made[name] = answer

    async def over(self) -> None:
        await asyncio.gather(*self._tasks)
