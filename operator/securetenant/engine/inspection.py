"""Inspects what runs in tenants' namespaces: lists it in pages, judges it, and gives each pass over a tenant what was
found last.

It is wanted by the passes: when a namespace has rules that it was not judged by yet, and, where inspection is
continuous, when the last one is old enough. Nothing is watched and nothing is kept but the outcomes; those are also in
the tenant's status, with a digest of the rules, so that a restart inspects nothing anew.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec
import structlog

from securetenant.api.status import Condition, NamespacePosture, PostureItem, PostureStatus
from securetenant.api.tenant import SecureTenant
from securetenant.checks.targets import Target
from securetenant.kube.discovery import group_versions, is_served
from securetenant.kube.errors import ApiError, Forbidden, Gone, NotFound, is_away
from securetenant.kube.transport import Transport
from securetenant.model.kinds import Kind
from securetenant.posture import addresses, report
from securetenant.posture.judging import Judge, Judgement
from securetenant.posture.rules import Rules, kinds
from securetenant.posture.tally import Tally, listed

log = structlog.get_logger("securetenant.inspection")

# Objects in a page. A pod has 5 to 15 KB: what a page takes at once stays below some milliseconds.
PAGE: Final = 250
# From the API server's watch cache, however fresh it is, in pages: "0" would mean the same, but then the API server
# ignores `limit`. Without it each list asks etcd for its revision and waits for the cache to reach it, up to 0.1 s.
CACHED: Final = {"resourceVersion": "1", "resourceVersionMatch": "NotOlderThan"}
# An object that took longer than this (seconds) to judge is followed by a pause as long as that.
SLOW: Final = 0.005
# After an inspection that failed (seconds): the first pause, and the longest; each is twice the one before.
FIRST: Final = 15.0
LONGEST: Final = 600.0
# How often an API server that is away may spoil an inspection before what was known counts no more.
PATIENT: Final = 3
# For how long (seconds) an inspection lets passes over tenants go first, and how often it looks whether there are any.
GIVES_WAY: Final = 5.0
POLL: Final = 0.05


class _List(msgspec.Struct):
    items: list[msgspec.Raw] | None = None


_list: Final = msgspec.json.Decoder(_List).decode


async def served(transport: Transport) -> dict[Target, list[Kind]]:
    """The kinds to list, by target: of a custom resource the first version that is served, if any is. One request where
    none is. Raises ApiError."""
    made: dict[Target, list[Kind]] = {}
    versions: set[str] | None = None
    for target, found in kinds().items():
        chosen = made[target] = []
        for kind in found:
            if kind.optional:
                versions = await group_versions(transport) if versions is None else versions
                known = any((one.group, one.plural) == (kind.group, kind.plural) for one in chosen)
                if known or kind.api_version not in versions or not await is_served(transport, kind):
                    continue
            chosen.append(kind)
    return made


async def inspect(
    transport: Transport, judge: Judgement, rules: Rules, now: datetime, listed: Mapping[Target, Sequence[Kind]]
) -> Tally:
    """Judge everything that runs in one namespace. `judge`: usually `Judge.verdict`; `listed`: as `served`. What cannot
    be listed is in `Tally.unjudged`. Raises ApiError only where the API server is away."""
    tally = Tally(rules.namespace)
    for target, found in listed.items():
        for kind in found:
            try:
                await _inspect_kind(transport, judge, rules, now, target, kind, tally)
            except ApiError as error:
                if is_away(error):
                    raise
                if not (isinstance(error, NotFound) and await _is_absent(transport, kind)):
                    tally.failed(target, _why(kind, error))
            except msgspec.MsgspecError as error:
                tally.failed(target, f"{kind.plural} cannot be read: {error}")
    return tally


async def _inspect_kind(
    transport: Transport, judge: Judgement, rules: Rules, now: datetime, target: Target, kind: Kind, tally: Tally
) -> None:
    params = {"fieldSelector": target.running} if target.running else {}
    pages = transport.pages(kind, rules.namespace, params, first=CACHED, page_size=PAGE)
    try:
        async for page in pages:
            items = _list(page).items or []
            del page
            items.reverse()  # what is judged is taken off, and let go
            while items:
                started = time.perf_counter()
                item = items.pop()
                tally.add(kind.name, judge(target, kind, item, rules.annotations, now))
                if target.name == addresses.TARGET and rules.subnets:
                    tally.address(kind.name, addresses.judged(item, rules.subnets))
                del item
                took = time.perf_counter() - started
                # Passes over tenants go on in between.
                await asyncio.sleep(took if took > SLOW else 0)
    finally:
        await pages.aclose()


async def _is_absent(transport: Transport, kind: Kind) -> bool:
    """Whether a kind is not served, so that there are no objects of it. A 404 alone does not tell: a proxy may have
    said it."""
    return bool(kind.group) and not await is_served(transport, kind)


def _why(kind: Kind, error: ApiError) -> str:
    if isinstance(error, Forbidden):
        return f"no right to list {kind.plural}"
    if isinstance(error, Gone):
        return f"{kind.plural} changed faster than they could be listed"
    return f"{kind.plural} cannot be listed: {error.reason}: {error.message}"


class Look(NamedTuple):
    """What a pass reports. `due`: seconds until the tenant is to be looked at again; None: not by itself."""

    posture: PostureStatus | None
    compliant: Condition
    due: float | None = None


@dataclass(slots=True)
class _Found:
    """What the last inspection of a tenant found, by namespace. `failures`: inspections in a row that failed; `again`:
    when the next one may be (monotonic seconds)."""

    rows: dict[str, NamespacePosture] = field(default_factory=dict)
    items: list[PostureItem] = field(default_factory=list)
    failures: int = 0
    again: float = 0.0


class Inspector:
    """`look` is called by each pass; `run` inspects, one tenant after the other, and calls `enqueue` when that is over.

    `interval`: seconds after which a tenant is inspected again though nothing changed; None: never. `is_busy`: whether
    there are passes to do first.
    """

    def __init__(
        self,
        transport: Transport,
        enqueue: Callable[[set[str]], None],
        *,
        interval: float | None,
        is_busy: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._transport = transport
        self._enqueue = enqueue
        self._interval = interval
        self._is_busy = is_busy
        self._monotonic = monotonic
        self._now = now
        self._judge = Judge()
        self._found: dict[str, _Found] = {}
        self._waiting: dict[str, Sequence[Rules]] = {}
        self._current: tuple[str, Sequence[Rules]] | None = None
        self._wake = asyncio.Event()

    def look(self, tenant: SecureTenant, rules: Sequence[Rules]) -> Look:
        """What is known of a tenant by these rules, those of the namespaces that it holds; queues an inspection where
        it is time for one."""
        before = tenant.status.posture or PostureStatus()
        found = self._found.get(tenant.name)
        if found is None:
            found = _Found({row.name: row for row in before.namespaces if row.judged}, before.items)
            self._found[tenant.name] = found
        declared = [entry.name for entry in tenant.spec.namespaces]
        posture = report.told(rules, declared, found.rows, found.items)
        due = self._due(tenant.name, [one for one in rules if one.uid], found)
        if due == 0:
            self._want(tenant.name, [one for one in rules if one.uid])
            due = None  # the tenant is enqueued after it
        return Look(posture, report.condition(posture), due)

    def _due(self, name: str, rules: Sequence[Rules], found: _Found) -> float | None:
        """Seconds until the next inspection; 0: now."""
        wait = max(0.0, found.again - self._monotonic())
        rows = [found.rows.get(one.namespace) for one in rules]
        if any(row is None or row.rules != one.digest or row.unjudged for row, one in zip(rows, rules, strict=True)):
            return wait
        times = [datetime.fromisoformat(row.judged) for row in rows if row is not None and row.judged]
        if self._interval is None or not times:
            return None
        age = (self._now() - min(times)).total_seconds()
        # Spread over time, also where all tenants were inspected at once.
        share = 0.9 + 0.2 * zlib.crc32(name.encode()) / 2**32
        return max(wait, self._interval * share - age)

    def _want(self, name: str, rules: Sequence[Rules]) -> None:
        if self._current is not None and self._current == (name, rules):
            return
        self._waiting[name] = rules
        self._wake.set()

    def forget(self, name: str) -> None:
        """The tenant is deleted, or is not judged any more."""
        self._found.pop(name, None)
        self._waiting.pop(name, None)
        if self._current is not None and self._current[0] == name:
            self._current = None  # what it finds will be of no use

    async def run(self) -> None:
        """Inspect what is wanted, until cancelled."""
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            end = self._monotonic() + GIVES_WAY
            while self._is_busy() and self._monotonic() < end:  # noqa: ASYNC110  there is no event for that
                await asyncio.sleep(POLL)
            if not self._waiting:
                continue
            name = next(iter(self._waiting))
            rules = self._waiting.pop(name)
            self._current = name, rules
            try:
                await self._inspect(name, rules)
            finally:
                self._current = None

    async def _inspect(self, name: str, rules: Sequence[Rules]) -> None:
        found = self._found.get(name)
        started, cpu = self._monotonic(), time.process_time()
        tallies: list[Tally] = []
        rows: dict[str, NamespacePosture] = {}
        why = ""
        try:
            found_kinds = await served(self._transport)
            for one in rules:
                now = self._now()
                tallies.append(await inspect(self._transport, self._judge.verdict, one, now, found_kinds))
                rows[one.namespace] = tallies[-1].row(one, now)
        except ApiError as error:
            why = f"the API server does not answer: {error}"
            if found is not None and found.failures >= PATIENT:
                tallies, rows = [], {one.namespace: report.failed_row(one, why, self._now()) for one in rules}
        except Exception as error:
            # A bug that one object triggers must not end the inspection of the others.
            log.exception("tenant not inspected because of a defect", tenant=name, cause=str(error))
            why = f"a defect in the operator ended the inspection ({type(error).__name__}: see its log)"
            tallies, rows = [], {one.namespace: report.failed_row(one, why, self._now()) for one in rules}
        if found is None or self._found.get(name) is not found:
            return  # forgotten meanwhile
        is_failed = bool(why) or any(row.unjudged for row in rows.values())
        found.failures = found.failures + 1 if is_failed else 0
        found.again = self._monotonic() + (min(LONGEST, FIRST * 2 ** (found.failures - 1)) if is_failed else 0.0)
        if rows and len(rows) == len(rules):
            found.rows, found.items = rows, listed(tallies)
        (log.warning if is_failed else log.info)(
            "tenant inspected" if not is_failed else "tenant not wholly inspected",
            tenant=name,
            namespaces=len(rules),
            objects=sum(tally.objects for tally in tallies),
            findings=sum(row.findings for row in found.rows.values()),
            seconds=round(self._monotonic() - started, 2),
            cpu_seconds=round(time.process_time() - cpu, 2),
            **({"cause": why or next(row.message for row in rows.values() if row.unjudged)} if is_failed else {}),
        )
        self._enqueue({name})
