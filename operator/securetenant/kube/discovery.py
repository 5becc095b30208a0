"""Whether the API server serves the optional kinds (`Kind.optional`), now and later.

It is asked at the start, and whenever the kind's CustomResourceDefinition is created, changed or deleted: CRDs are
watched, metadata only, and while they do not change there are no requests. A kind of Kubernetes itself (`Kind.since`)
has no CRD: while it is not served it is asked again from time to time, since the API server may be upgraded. Besides
the right to list and watch CRDs this needs only what every user has (the ClusterRole `system:discovery`: get on /apis
and /apis/*).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import msgspec

from securetenant.kube import errors
from securetenant.kube.errors import ApiError, NotFound, is_away
from securetenant.kube.informer import Informer
from securetenant.kube.reach import Rarely
from securetenant.kube.transport import Transport
from securetenant.model.kinds import CUSTOM_RESOURCE_DEFINITION, Kind
from securetenant.model.objects import Observed, Ref

log = logging.getLogger(__name__)

# While the answer and the CRD do not agree, it is asked again after these waits (seconds): the first and the longest;
# each is twice the one before. They agree after milliseconds, or with several API servers after seconds; but a CRD
# without the requested version may stay for ever.
FIRST: Final = 0.1
LONGEST: Final = 300.0
# The longest wait while there is no answer (seconds).
LONGEST_UNANSWERED: Final = 5.0
# The verbs that a served kind must have. While its CRD is being deleted the API server removes only the others.
_READ: Final = {"list", "watch"}


class _Resource(msgspec.Struct):
    name: str = ""
    verbs: list[str] = []


class _Resources(msgspec.Struct, rename="camel"):
    """An APIResourceList."""

    kind: str
    group_version: str
    resources: list[_Resource]


class _Version(msgspec.Struct, rename="camel"):
    group_version: str


class _Group(msgspec.Struct):
    versions: list[_Version]


class _Groups(msgspec.Struct):
    """An APIGroupList."""

    kind: str
    groups: list[_Group]


_Answer = TypeVar("_Answer", _Resources, _Groups)


async def is_served(transport: Transport, kind: Kind) -> bool:
    """Whether the API server serves the kind in its version. Raises ApiError if that cannot be found out."""
    path = f"/apis/{kind.api_version}"
    try:
        raw = await transport.request("GET", path)
    except NotFound as error:
        # For an unknown group the API server answers with a line of text, not a Status; so may a proxy. Hence check.
        if kind.api_version in await group_versions(transport):
            raise error from None
        return False
    found = _decoded(raw, _Resources, "APIResourceList", path)
    if found.group_version != kind.api_version:
        raise errors.malformed(raw, f"APIResourceList of {kind.api_version}", "GET", path)
    return any(each.name == kind.plural and _READ.issubset(each.verbs) for each in found.resources)


async def group_versions(transport: Transport) -> set[str]:
    """All group versions that the API server serves ("apps/v1"). Raises ApiError."""
    found = _decoded(await transport.request("GET", "/apis"), _Groups, "APIGroupList", "/apis")
    return {version.group_version for group in found.groups for version in group.versions}


def _decoded(raw: bytes, type_: type[_Answer], kind: str, path: str) -> _Answer:
    try:
        found = msgspec.json.decode(raw, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise errors.malformed(raw, kind, "GET", path) from error
    if found.kind != kind:
        raise errors.malformed(raw, kind, "GET", path)
    return found


class Discovery:
    """Reports whether these kinds are served: `on_answer` is called with every answer for a kind, or with the error.
    `going`: the kinds whose CRD is being or was deleted: their remaining objects can be read, but none can be created;
    `on_going` is called when a kind enters it. `crds`: the informer of their CRDs, which the caller runs beside
    `run`; None if no kind has one."""

    def __init__(
        self,
        transport: Transport,
        kinds: Iterable[Kind],
        on_answer: Callable[[Kind, bool | ApiError], None],
        on_going: Callable[[Kind], None],
    ) -> None:
        # By the CRD's name: the kind, and an event that is set when the CRD is added, changed or deleted.
        kinds = tuple(kinds)
        self._news = {f"{kind.plural}.{kind.group}": (kind, asyncio.Event()) for kind in kinds}
        self._transport = transport
        self._on_answer = on_answer
        self._on_going = on_going
        self.going = set[Kind]()
        self.crds: Informer | None = None
        if any(not kind.since for kind in kinds):
            self.crds = Informer(transport, CUSTOM_RESOURCE_DEFINITION, on_change=self._on_change, only=self._news)

    def _on_change(self, old: Observed | None, new: Observed | None) -> None:
        crd = new or old
        assert crd is not None
        kind, news = self._news[crd.ref.name]
        if new is not None and not new.deleting:
            self.going.discard(kind)
        elif kind not in self.going:
            self.going.add(kind)
            self._on_going(kind)
        news.set()

    async def run(self) -> None:
        """Ask whenever there is a reason to; runs until cancelled."""
        if self.crds is not None:
            await self.crds.synced.wait()
        async with asyncio.TaskGroup() as group:
            for name, (kind, news) in self._news.items():
                group.create_task(self._follow(name, kind, news), name=f"discovery {kind}")

    async def _follow(self, name: str, kind: Kind, news: asyncio.Event) -> None:
        wait, rarely = FIRST, Rarely()
        while True:
            news.clear()
            pause: float | None = wait
            try:
                served = await is_served(self._transport, kind)
            except ApiError as error:
                pause = min(wait, LONGEST_UNANSWERED)
                if not is_away(error) and rarely(str(error)):
                    log.warning("unknown whether %s is served, retrying: %s", kind.key, error)
                self._on_answer(kind, error)
            else:
                pause = self._pause(name, kind, served, wait)
                self._on_answer(kind, served)
            wait = FIRST if await is_set(news, pause) else min(2 * wait, LONGEST)

    def _pause(self, name: str, kind: Kind, served: bool, wait: float) -> float | None:
        """For how long (seconds) an answer is left as it is; None: until something happens."""
        if kind.since:
            return None if served else LONGEST
        assert self.crds is not None
        agrees = served == (self.crds.get(Ref(CUSTOM_RESOURCE_DEFINITION, "", name)) is not None)
        return None if agrees else wait


async def is_set(news: asyncio.Event, within: float | None) -> bool:
    """Whether `news` is set within so many seconds; None: wait without limit."""
    try:
        async with asyncio.timeout(within):
            return await news.wait()
    except TimeoutError:
        return False
