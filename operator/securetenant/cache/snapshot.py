"""The cluster as plain lists gave it, once: what `plan` looks at, where the operator has informers."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping

from securetenant.cache.index import Index
from securetenant.cache.tenants import Tenants
from securetenant.cache.world import World, indexes
from securetenant.controls.lookup import CACHED, ONLY
from securetenant.kube.transport import ApiError, Transport
from securetenant.kube.wire import codec
from securetenant.model.kinds import Kind
from securetenant.model.objects import Observed, Ref
from securetenant.model.platform import Platform


class ListError(Exception):
    """Some kinds could not be listed; `errors` has why, by kind."""

    def __init__(self, errors: Mapping[str, ApiError]) -> None:
        super().__init__("; ".join(str(error) for error in errors.values()))
        self.errors = errors


class Listing:
    """One kind's objects; a cache that does not change."""

    def __init__(self, objects: Iterable[Observed] = (), index: Index | None = None) -> None:
        self._objects: dict[Ref, Observed] = {}
        self._by_namespace: dict[str, list[Observed]] = {}
        for observed in objects:
            self._objects[observed.ref] = observed
            self._by_namespace.setdefault(observed.ref.namespace, []).append(observed)
            if index is not None:
                index.change(None, observed)

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, ref: Ref) -> Observed | None:
        return self._objects.get(ref)

    def in_namespace(self, namespace: str) -> Iterable[Observed]:
        return self._by_namespace.get(namespace, ())


def world_of(objects: Mapping[Kind, Iterable[Observed]], tenants: Tenants, platform: Platform) -> World:
    """A World of these objects by kind; of a kind that is not given there are none."""
    indexed = indexes()
    caches = {kind: Listing(objects.get(kind, ()), indexed.get(kind)) for kind in CACHED}
    return World(caches, indexed, tenants, platform)


async def fetch(transport: Transport) -> dict[Kind, list[Observed]]:
    """All that the operator caches, by kind: one paged LIST of each. Raises ListError."""
    results = await asyncio.gather(*(_list(transport, kind) for kind in CACHED), return_exceptions=True)
    objects: dict[Kind, list[Observed]] = {}
    errors: dict[str, ApiError] = {}
    for kind, result in zip(CACHED, results, strict=True):
        if isinstance(result, ApiError):
            errors[kind.plural] = result
        elif isinstance(result, BaseException):
            raise result
        else:
            objects[kind] = result
    if errors:
        raise ListError(errors)
    return objects


async def _list(transport: Transport, kind: Kind) -> list[Observed]:
    decoders = codec(kind)
    only, params = ONLY.get(kind), {"labelSelector": kind.selector} if kind.selector else {}
    async with contextlib.aclosing(transport.pages(kind, kind.within, params)) as pages:
        return [
            decoders.observed(item)
            async for page in pages
            for item in decoders.page(page).items or ()
            if only is None or item.metadata.name in only
        ]
