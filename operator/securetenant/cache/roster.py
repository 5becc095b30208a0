"""Which SecureTenants there are, by lists of our own: an interrupted watch tells nothing of what went meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypedDict

import msgspec
import structlog

from securetenant.cache.tenants import Tenants
from securetenant.kube.errors import is_away, malformed
from securetenant.kube.transport import JSON_PATCH, ApiError, Invalid, NotFound, Transport
from securetenant.model.kinds import SECURE_TENANT
from securetenant.model.objects import JsonValue, Ref

log = structlog.get_logger("securetenant.operator")

# SecureTenants of one page of a list: they are the largest objects that there are.
PAGE = 50
OUR_PAGE = 200
# How long to wait after a failed list (seconds).
AGAIN = 1.0
# Who does not see the SecureTenants for this long (seconds) does not lead, or not any more.
BLIND = 60.0
# So many of the SecureTenants that a list lacks are asked for themselves, before it is believed.
SAMPLE = 5


class _Metadata(TypedDict, total=False):
    """What is kept of it: managedFields, half of a SecureTenant, are skipped unread."""

    name: Any
    uid: Any
    resourceVersion: Any
    generation: Any
    creationTimestamp: Any
    deletionTimestamp: Any
    finalizers: Any
    annotations: Any


class _Item(TypedDict, total=False):
    apiVersion: Any
    kind: Any
    metadata: _Metadata
    spec: Any
    status: Any


class _Page(msgspec.Struct):
    items: list[_Item] | None


_page: Final = msgspec.json.Decoder(_Page).decode


class Blind(RuntimeError):
    """Nobody sees the SecureTenants, and nothing here can mend that: the process has to end."""


class Roster:
    """Lists the SecureTenants when asked to, as many times as it takes. `observe` takes what is listed, `enqueue` the
    tenants that are concerned by one that is gone."""

    def __init__(
        self,
        transport: Transport,
        tenants: Tenants,
        observe: Callable[[str | None, Mapping[str, Any]], None],
        enqueue: Callable[[set[str]], None],
    ) -> None:
        self._transport = transport
        self._tenants = tenants
        self._observe = observe
        self._enqueue = enqueue
        self._asked = asyncio.Event()
        self._failure = ""  # as the log has it

    def ask(self) -> None:
        """Let `keep` list them."""
        self._asked.set()

    async def early(self) -> bool:
        """List them once beside the caches' own lists, since thousands take seconds; whether it was done."""
        try:
            await self._load(self._tenants.load)
        except ApiError as error:
            log.debug("SecureTenants not listed early", cause=str(error))
            return False
        return True

    async def first(self) -> None:
        """List them, for a leader to begin with. Raises NotFound where the CRD is not installed; Blind if it cannot
        be done: another instance may be able to."""
        self._asked.clear()
        started = time.monotonic()
        while (failure := await self._try(self._tenants.load)) is not None:
            if isinstance(failure, NotFound) and not failure.is_uncertain:
                raise failure
            if time.monotonic() - started > BLIND:
                raise Blind(f"SecureTenants cannot be listed: {failure}") from failure
            await asyncio.sleep(AGAIN)

    async def keep(self) -> None:
        """List them whenever asked to, again and again until that succeeds."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            if await self._try(partial(self._observe, "ADDED")) is not None:
                await asyncio.sleep(AGAIN)
                self._asked.set()

    async def _try(self, take: Callable[[Mapping[str, Any]], None]) -> ApiError | None:
        try:
            await self._load(take)
        except ApiError as error:
            # While the CRD is gone, say, it is the same every second; that the API server is away is said once for all.
            is_said = is_away(error) or self._failure == str(error)
            report = log.debug if is_said else log.warning
            report("SecureTenants not listed, tried again", cause=str(error), retry_seconds=AGAIN)
            self._failure = str(error)
            return error
        self._failure = ""
        return None

    async def _load(self, take: Callable[[Mapping[str, Any]], None]) -> None:
        """List them, have each taken in, and forget those that are not there any more: acting for a deleted tenant
        would recreate its namespaces.

        A refused list, also the 404 of a CRD that is gone, is no list of nothing: nothing is forgotten for it.
        """
        known, listed = self._tenants.uids(), set()
        async with contextlib.aclosing(self._transport.pages(SECURE_TENANT, page_size=OUR_PAGE)) as pages:
            async for page in pages:
                for body in _page(page).items or ():
                    listed.add(body["metadata"]["name"])
                    take(body)
        # Not one that came while the list was under way.
        kept = {name: uid for name, uid in self._tenants.uids().items() if known.get(name) == uid}
        ghosts = {name: uid for name, uid in kept.items() if name not in listed}
        await self._confirm_gone(ghosts)
        for ghost in ghosts:
            self._enqueue(self._tenants.remove(ghost))

    async def _confirm_gone(self, ghosts: Mapping[str, str]) -> None:
        """Ask for some of the tenants that a list lacks themselves. Raises Malformed if one is there: what stands
        between us and the server must not make us let go of every tenant.

        By a patch that tests the UID and changes nothing: there is no right to get a SecureTenant.
        """
        for name, uid in sorted(ghosts.items())[:SAMPLE]:
            test: JsonValue = [{"op": "test", "path": "/metadata/uid", "value": uid}]
            try:
                await self._transport.patch(SECURE_TENANT, Ref(SECURE_TENANT, "", name), test, JSON_PATCH)
            except (NotFound, Invalid) as error:
                if error.is_uncertain:
                    raise
                continue  # gone, or another one of the same name
            raise malformed(f"it lacks {name}, which is there".encode(), "whole list", "GET", SECURE_TENANT.plural)
