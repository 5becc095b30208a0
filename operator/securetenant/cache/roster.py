"""Which SecureTenants exist, by lists of our own: after an interruption, a watch does not report what was deleted."""

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

# SecureTenants per page of a list: they are the largest objects of all.
PAGE = 50
OUR_PAGE = 200
# How long to wait after a failed list (seconds).
AGAIN = 1.0
# An instance that cannot list or watch the SecureTenants for this long (seconds) does not lead, or stops leading.
BLIND = 60.0
# How many of the SecureTenants that are missing in a list are checked one by one before the list is trusted.
SAMPLE = 5


class _Metadata(TypedDict, total=False):
    """The metadata that is kept. managedFields, half the size of a SecureTenant, are skipped unparsed."""

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
    """This instance cannot list or watch the SecureTenants and cannot repair that: the process has to exit."""


class Roster:
    """Lists the SecureTenants on request, and retries until that succeeds. `observe` takes the listed objects,
    `enqueue` the tenants that a deleted one concerns."""

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
        self._relist = asyncio.Event()
        self._failure = ""  # as last logged

    def relist(self) -> None:
        """Request a list; `keep` makes it."""
        self._relist.set()

    async def early(self) -> bool:
        """List them once while the informers list too, since thousands take seconds; returns whether that succeeded."""
        try:
            await self._load(self._tenants.load)
        except ApiError as error:
            log.debug("SecureTenants not listed early", cause=str(error))
            return False
        return True

    async def first(self) -> None:
        """List them when this instance starts to lead. Raises NotFound where the CRD is not installed, and Blind if it
        fails for too long: another instance may be able to."""
        self._relist.clear()
        started = time.monotonic()
        while (failure := await self._try(self._tenants.load)) is not None:
            if isinstance(failure, NotFound) and not failure.is_uncertain:
                raise failure
            if time.monotonic() - started > BLIND:
                raise Blind(f"SecureTenants cannot be listed: {failure}") from failure
            await asyncio.sleep(AGAIN)

    async def keep(self) -> None:
        """List them on every request, with retries until it succeeds; runs until cancelled."""
        while True:
            await self._relist.wait()
            self._relist.clear()
            if await self._try(partial(self._observe, "ADDED")) is not None:
                await asyncio.sleep(AGAIN)
                self._relist.set()

    async def _try(self, take: Callable[[Mapping[str, Any]], None]) -> ApiError | None:
        try:
            await self._load(take)
        except ApiError as error:
            # Log an error that repeats every second (the CRD is deleted, for example) once; that the API server is not
            # reachable is logged elsewhere (kube/reach.py).
            is_known = is_away(error) or self._failure == str(error)
            report = log.debug if is_known else log.warning
            report("SecureTenants not listed, retrying", cause=str(error), retry_seconds=AGAIN)
            self._failure = str(error)
            return error
        self._failure = ""
        return None

    async def _load(self, take: Callable[[Mapping[str, Any]], None]) -> None:
        """List them, pass each to `take`, and forget those that no longer exist: acting for a deleted tenant would
        recreate its namespaces.

        A failed list, even the 404 of a deleted CRD, is not an empty list: it makes nothing forgotten.
        """
        known, listed = self._tenants.uids(), set()
        async with contextlib.aclosing(self._transport.pages(SECURE_TENANT, page_size=OUR_PAGE)) as pages:
            async for page in pages:
                for body in _page(page).items or ():
                    listed.add(body["metadata"]["name"])
                    take(body)
        # Not one that was created while the list was in progress.
        kept = {name: uid for name, uid in self._tenants.uids().items() if known.get(name) == uid}
        stale = {name: uid for name, uid in kept.items() if name not in listed}
        await self._confirm_gone(stale)
        for name in stale:
            self._enqueue(self._tenants.remove(name))

    async def _confirm_gone(self, stale: Mapping[str, str]) -> None:
        """Check some of the tenants that are missing in a list (stale entries of the cache) one by one. Raises
        Malformed if one exists: a faulty proxy must not make us forget every tenant.

        The check is a patch that tests the UID and changes nothing: the operator has no right to get a SecureTenant.
        """
        for name, uid in sorted(stale.items())[:SAMPLE]:
            test: JsonValue = [{"op": "test", "path": "/metadata/uid", "value": uid}]
            try:
                await self._transport.patch(SECURE_TENANT, Ref(SECURE_TENANT, "", name), test, JSON_PATCH)
            except (NotFound, Invalid) as error:
                if error.is_uncertain:
                    raise
                continue  # deleted, or replaced by another one of the same name
            raise malformed(f"it lacks {name}, which exists".encode(), "whole list", "GET", SECURE_TENANT.plural)
