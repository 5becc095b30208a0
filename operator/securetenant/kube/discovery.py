"""Whether the API server serves the kinds that it need not serve (`Kind.optional`), now and later.

Asked at the start, and whenever the kind's CustomResourceDefinition comes, changes or goes: those are watched, for
their metadata alone, and nothing is asked for while they stay as they are. Beside the right to list and watch them this
needs what every user has (the ClusterRole `system:discovery`: get on /apis and /apis/*).
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

# Seconds until it is asked again while the answer and the CRD do not agree: the first wait, and the longest, twice the
# one before each. They agree after milliseconds, or, of several API servers, seconds; but a CRD without the version
# that is asked for may stay for ever.
FIRST: Final = 0.1
LONGEST: Final = 300.0
# The longest while there is no answer.
LONGEST_UNANSWERED: Final = 5.0
# What a kind that is served permits: of one that is going the API server takes the others away.
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
    """Whether the API server serves the kind in its version. Raises ApiError where that is not known."""
    path = f"/apis/{kind.api_version}"
    try:
        raw = await transport.request("GET", path)
    except NotFound as error:
        # The API server's own answer is no Status here, but a line of text, as a proxy's may be.
        if kind.api_version in await _group_versions(transport):
            raise error from None
        return False
    found = _decoded(raw, _Resources, "APIResourceList", path)
    if found.group_version != kind.api_version:
        raise errors.malformed(raw, f"APIResourceList of {kind.api_version}", "GET", path)
    return any(each.name == kind.plural and _READ.issubset(each.verbs) for each in found.resources)


async def _group_versions(transport: Transport) -> set[str]:
    """All that the API server serves ("apps/v1"). Raises ApiError."""
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
    """Tells of these kinds whether they are served: `on_answer` hears the first answer of each and every later one, and
    the error where there was none. `going`: those whose CRD is being deleted, or was: what there still is of them can
    be read, and nothing can be created; `on_going` hears of each that it begins. `crds` is the informer of their CRDs,
    which the caller runs beside `run`."""

    def __init__(
        self,
        transport: Transport,
        kinds: Iterable[Kind],
        on_answer: Callable[[Kind, bool | ApiError], None],
        on_going: Callable[[Kind], None],
    ) -> None:
        # By its CRD's name, and what is set when that came, changed or went.
        self._news = {f"{kind.plural}.{kind.group}": (kind, asyncio.Event()) for kind in kinds}
        self._transport = transport
        self._on_answer = on_answer
        self._on_going = on_going
        self.going = set[Kind]()
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
        """Ask, for ever."""
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
                    log.warning("whether %s is served is not known, asked again: %s", kind.key, error)
                self._on_answer(kind, error)
            else:
                if served == (self.crds.get(Ref(CUSTOM_RESOURCE_DEFINITION, "", name)) is not None):
                    pause = None  # until something happens
                self._on_answer(kind, served)
            wait = FIRST if await is_set(news, pause) else min(2 * wait, LONGEST)


async def is_set(news: asyncio.Event, within: float | None) -> bool:
    """Whether it is set within so many seconds; None: however long that takes."""
    try:
        async with asyncio.timeout(within):
            return await news.wait()
    except TimeoutError:
        return False
