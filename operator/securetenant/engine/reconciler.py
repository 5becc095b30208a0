"""Reconciles one tenant (a pass): assess, attribute, write, report. Idempotent; a pass that finds nothing sends
nothing."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from securetenant.api.refused import Refusal
from securetenant.api.tenant import SecureTenant
from securetenant.cache.tenants import Tenants
from securetenant.cache.world import World
from securetenant.controls.lookup import NAMED
from securetenant.drift.applied import grouped, recorded
from securetenant.drift.assess import Assessment, assess
from securetenant.drift.judge import Finding, closes
from securetenant.engine import creation, known, outcomes, recording, rollout, status
from securetenant.engine.alterations import Alterations
from securetenant.engine.attribution import attributed
from securetenant.engine.contention import Contention
from securetenant.engine.creation import Creations
from securetenant.engine.departures import Departures
from securetenant.engine.following import Following, judged
from securetenant.engine.inflight import WritesInFlight
from securetenant.engine.inspection import Inspector
from securetenant.engine.known import Known
from securetenant.engine.neighbours import Neighbours
from securetenant.engine.own_writes import OwnWrites
from securetenant.engine.reporter import Reporter
from securetenant.engine.resource import Again
from securetenant.engine.status import Pass
from securetenant.engine.strays import Strays
from securetenant.engine.tenantwriter import TenantWriter
from securetenant.engine.writer import Outcome, Writer
from securetenant.kube.transport import ApiError, NotFound, Transport
from securetenant.model import names
from securetenant.model.kinds import NAMESPACE
from securetenant.posture import report as posture
from securetenant.posture import rules
from securetenant.reach import holds

log = structlog.get_logger("securetenant.reconcile")

# How long kube-controller-manager may take to recalculate a quota (seconds); usually milliseconds.
_RECOUNTED = 2.0


class Reconciler:
    """Its state can all be read back from the cluster or be lost without harm: `_standing` avoids counting or looking
    up a deviation twice; `_history` recognizes a restored old state as drift, and a write without an answer as ours;
    `_alterations` knows what admission changes in our writes; `_creations` has the values that were committed to;
    `_strays` knows what may have landed in somebody else's namespace.

    `stale` returns why the caches may be out of date; "" while they are not.
    """

    def __init__(
        self,
        transport: Transport,
        writer: Writer,
        tenants: Tenants,
        world: World,
        reporter: Reporter,
        enqueue: Callable[[set[str]], None],
        in_flight: WritesInFlight,
        following: Following,
        inspector: Inspector,
        neighbours: Neighbours,
        *,
        stale: Callable[[], str] = lambda: "",
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._transport = transport
        self._writer = writer
        self._resource = TenantWriter(transport, tenants, in_flight, enqueue)
        self._tenants = tenants
        self._world = world
        self._reporter = reporter
        self._following = following
        self._inspector = inspector
        self._neighbours = neighbours
        self._stale = stale
        self._contention = Contention(monotonic)
        self._alterations = Alterations(monotonic)
        self._history = OwnWrites(world)
        self._creations = Creations()
        self._strays = Strays(monotonic)
        self._monotonic = monotonic
        self._now = now
        self._standing: dict[str, Known] = {}
        self._departures = Departures(writer, self._resource, tenants, world, reporter, self._strays, now)
        self._uids: dict[str, str] = {}

    async def reconcile(self, name: str, since: float, failures: int = 0) -> Again:
        """Reconcile one tenant. `since`: when the event that caused this pass arrived (monotonic seconds).

        Raises ApiError only where the SecureTenant itself could not be written.
        """
        tenant = self._tenants.get(name)
        if tenant is None:
            return Again()
        if self._uids.setdefault(name, tenant.metadata.uid) != tenant.metadata.uid:
            self.forget(name)  # recreated: what is known belongs to its predecessor
            self._uids[name] = tenant.metadata.uid
        if tenant.metadata.deletion_timestamp is not None:
            return await self._departures.delete(tenant)
        refusal = self._tenants.refusal(name)
        if tenant.spec.mode == "Paused":
            return await self._pause(tenant, refusal)
        found = assess(tenant, self._world, self._now(), self._history.last(name), refusal, self._history.trusts(name))
        if tenant.spec.mode == "Enforce":
            # At once: while this pass awaits an answer, another is planned.
            self._world.addresses.reserve(name, found.reserved)
        found = await judged(found, self._following, self._transport)
        findings = await attributed(self._transport, found.findings, self._known(tenant).managers)
        found = replace(found, findings=findings)
        if tenant.spec.mode == "Audit":
            return await self._audit(found)
        return await self._enforce(found, since, failures)

    def forget(self, name: str) -> None:
        """The tenant is deleted: drop what is kept for it."""
        self._standing.pop(name, None)
        self._departures.forget(name)
        self._uids.pop(name, None)
        self._contention.forget(name)
        self._alterations.forget(name)
        self._history.forget(name)
        self._creations.forget(name)
        self._strays.forget(name)
        self._inspector.forget(name)
        self._neighbours.forget(name)
        self._reporter.forget(name)
        self._world.addresses.forget(name)

    async def unjudged(self, name: str, cause: str) -> None:
        """A pass was aborted by a bug: report the tenant's state as unknown, instead of what was known last."""
        tenant = self._tenants.get(name)
        if tenant is None or tenant.metadata.deletion_timestamp is not None:
            return
        result = Pass(tenant, {}, {}, applied=recorded(tenant.status), unknown=cause)
        result.compliant = posture.unjudged(cause)
        computed = status.compute(result, self._now())
        self._reporter.report(result, computed, 0.0)
        await self._resource.write_status(tenant, computed)

    async def _pause(self, tenant: SecureTenant, refusal: Refusal | None) -> Again:
        """Paused: nothing is judged, nothing is written, and the status says so."""
        result = Pass(tenant, {}, {}, applied=recorded(tenant.status), refusal=refusal)
        result.compliant = posture.unjudged("mode is Paused: nothing is judged")
        self._inspector.forget(tenant.name)
        self._neighbours.forget(tenant.name)
        await self._report(result)
        return Again()

    async def _audit(self, found: Assessment) -> Again:
        """Report every difference as a deviation; nothing but status, metrics and events is written."""
        tenant = found.tenant
        applied = recorded(tenant.status)
        result = Pass(tenant, found.plans, found.held, found.findings, applied=applied, unknown=self._stale())
        result.refusal = found.refusal
        result.detected = self._newly(tenant, found.findings)
        self._compare(result, found)
        due = self._inspected(result, found, found.held)
        await self._report(result)
        return Again(after=earliest(self._until(found.wake_at), due))

    async def _enforce(self, found: Assessment, since: float, failures: int) -> Again:
        tenant = found.tenant
        drift = [finding for finding in found.findings if not finding.rollout]
        todo = [f for f in found.findings if f.action != "Keep"]
        deferred = {f for f in todo if self._wait(tenant.name, f) > 0}
        todo = [f for f in todo if f not in deferred]
        todo += self._strays.findings(tenant.name, self._world, own=found.held)
        tenant, todo, unprepared = await self._prepare_creations(found, todo)
        if not todo and not unprepared and self._is_reported(tenant, found, deferred):
            return Again(after=min(self._wait(tenant.name, finding) for finding in deferred), waiting=True)
        unrecorded = False
        if any(_is_going(f) and f.ref in found.record for f in todo):
            try:
                tenant = await self._forget_applied(tenant, todo)
            except ApiError as error:
                # Deletions that close must not wait. If the process dies before the status is written, they will look
                # like drift.
                log.warning("status not written before deletions", tenant=tenant.name, cause=str(error))
                unrecorded = True
        values = self._creations.values(tenant.name)
        outcome = (
            await self._writer.undo(todo, tenant.name, tenant.metadata.uid, values, found.entering)
            if todo
            else Outcome()
        )
        held = found.held | creation.created(outcome) | dict.fromkeys(creation.refused(found, outcome), "")
        self._strays.note(tenant.name, outcome, held)

        done, failed = set(outcome.done), [*unprepared, *outcome.failed]
        late = self._history.observe(found, outcome)
        corrected = [finding for finding in (*done, *late) if not finding.rollout]
        seconds = self._monotonic() - since
        self._count_corrections(tenant.name, corrected, outcome)
        altered = self._alterations.outstanding(tenant.name, found.findings, outcome)
        changed = {finding.ref for finding in altered}
        left = [f for f in drift if f not in done and f.ref not in changed]
        result = Pass(
            tenant,
            found.plans,
            held,
            owned=found.owned,
            outstanding=[*left, *altered],
            corrected=corrected,
            rolled_out=rollout.written(outcome, late),
            contested=self._contention.contested(tenant.name),
            open=[finding for finding in left if finding in deferred and closes(finding)],
            altered=altered,
            applied=recording.applied(found, done | {item.finding for item in outcome.altered}),
            errors=[outcomes.failure(f, error) for f, error in failed if outcomes.is_news(error, failures)],
            unwritten=outcomes.unwritten(todo, outcome, altered, failures),
            refusal=found.refusal,
            unknown=self._stale(),
            reserved=recording.reserved(found, done),
            retrying=any(not outcomes.is_news(error, failures) for _, error in failed),
        )
        result.detected = self._newly(tenant, [*result.outstanding, *corrected])
        self._compare(result, found)
        due = self._inspected(result, found, held)
        is_failed, is_missing = unrecorded or bool(failed), False
        try:
            await self._report(result, seconds)
        except ApiError as error:
            log.warning("status not written, retrying", tenant=tenant.name, cause=str(error))
            is_failed, is_missing = True, isinstance(error, NotFound)
        # What was deferred when the pass began may be due by now. What failed has its own back-off.
        over = {f for f, _ in failed} | deferred
        waits = [self._wait(tenant.name, finding) for finding in deferred]
        waits += [w for f in result.outstanding if f not in over and (w := self._wait(tenant.name, f))]
        again = self._again(found, done, waits, is_failed=is_failed)
        return replace(again, after=earliest(again.after, due), missing=is_missing, waiting=bool(deferred))

    def _inspected(self, result: Pass, found: Assessment, held: Mapping[str, str]) -> float | None:
        """Put into the result what the inspection knows; seconds until it is to be asked again. `held`: as in Pass."""
        if found.is_bare:
            result.compliant = posture.unjudged("the spec is refused and no accepted one is known: there are no rules")
            return None
        result.posture, result.compliant, due = self._inspector.look(found.tenant, rules.of(found, held))
        return due

    def _compare(self, result: Pass, found: Assessment) -> None:
        """Put into the result where what stands now, after the writes of this pass, differs from what is declared."""
        if found.is_bare:
            return
        there = [name for name, uid in result.held.items() if uid]
        if not there:
            self._neighbours.forget(found.tenant.name)
            return
        result.holds = holds.look(found.desired, there, self._world)
        self._neighbours.note(found.tenant.name, result.holds)

    def _is_reported(self, tenant: SecureTenant, found: Assessment, deferred: Collection[Finding]) -> bool:
        """Whether every finding is deferred and the status says so already; otherwise each round of a contest would
        write the status twice."""
        ready = status.ready_before(tenant)
        if ready is None or not deferred or self._stale():
            return False
        is_current = (ready.status, ready.reason, ready.observed_generation) == (
            "False",
            "Contested",
            tenant.metadata.generation,
        )
        return is_current and all(finding in deferred for finding in found.findings)

    def _count_corrections(self, name: str, corrected: Iterable[Finding], outcome: Outcome) -> None:
        """Count corrections, by which contests are detected. One that failed with a conflict, because the object
        changed meanwhile, counts too, unless the change may be our own write without an answer."""
        beaten = [
            f
            for f, error in outcome.failed
            if not f.rollout and outcomes.is_beaten(error) and not self._history.is_uncertain(name, f.ref)
        ]
        for finding in (*corrected, *beaten):
            note = self._contention.corrected if finding.desired is not None else self._contention.removed
            note(name, finding.ref, finding.control, finding.manager)

    def _again(self, found: Assessment, done: Collection[Finding], waits: list[float], *, is_failed: bool) -> Again:
        """When to reconcile again. `waits`: seconds until each of the remaining findings may be corrected."""
        if not is_failed and any(map(_is_reread, done)):
            # The control reads its condition off the object: reconcile again, now that it is written.
            return Again(after=0.0)
        name = found.tenant.name
        calm = self._contention.calm_at(name)
        # A recalculated quota's last event may arrive before this pass reports the tampering, and no other may follow.
        waits = waits + [_RECOUNTED for finding in done if finding.action == "Recount"]
        times = [*waits, *([calm] if calm else []), *([until] if (until := self._until(found.wake_at)) else [])]
        return Again(after=min(times, default=None), retry=is_failed)

    def _wait(self, name: str, finding: Finding) -> float:
        """Seconds until this finding may be corrected: the back-off of a contest, or of a write that admission
        changes."""
        contested = 0.0 if finding.rollout else self._contention.wait(name, finding.ref, closes=closes(finding))
        return max(contested, self._alterations.wait(name, finding.observed))

    async def _prepare_creations(
        self, found: Assessment, todo: list[Finding]
    ) -> tuple[SecureTenant, list[Finding], list[tuple[Finding, ApiError]]]:
        """Before anything is created, put the finalizer on the SecureTenant, so that nothing can be left behind, and
        the commitments to the namespaces that will be created. Where the commitments cannot be written, these
        namespaces and their contents wait.

        Returns the SecureTenant as it was judged, with the commitments; the findings to carry out now; and those that
        failed. Raises ApiError where the finalizer cannot be written, and NotFound, which ends the pass over a deleted
        tenant.
        """
        if found.is_bare and not todo:
            return found.tenant, todo, []  # nothing was ever written for it: it needs no finalizer
        creating = creation.creates(todo)
        # A namespace that is not created now (contested, for example): its contents could land in somebody else's.
        todo = [f for f in todo if f.ref.kind.prefix or found.held.get(f.ref.place) != "" or f.ref.place in creating]
        tenant = self._creations.commit(found.tenant, creating)
        patch = creation.announcement(found.tenant, tenant)
        if patch is None:
            return tenant, todo, []
        try:
            await self._resource.patch(tenant, patch)
        except NotFound:
            raise
        except ApiError as error:
            if names.FINALIZER not in tenant.metadata.finalizers:
                raise
            waiting = [f for f in todo if f.ref.place in creating]
            failed = [(f, error) for f in waiting if f.ref.kind is NAMESPACE]
            return found.tenant, [f for f in todo if f not in waiting], failed
        return tenant, todo, []

    async def _forget_applied(self, tenant: SecureTenant, todo: Sequence[Finding]) -> SecureTenant:
        """Remove what a rollout is about to delete from `status.applied` first, so that it is not taken for drift if
        the process dies in between."""
        going = {finding.ref for finding in todo if _is_going(finding)}
        kept = recorded(tenant.status) - going
        shrunk = tenant.status.model_copy(update={"applied": grouped(kept)})
        await self._resource.write_status(tenant, shrunk)
        # Not the answer: it may hold an edit, and this pass goes on with the spec that it judged.
        return tenant.model_copy(update={"status": shrunk})

    def _known(self, tenant: SecureTenant) -> Known:
        """The deviations after the last pass; after a restart, those that the status recorded."""
        if tenant.name not in self._standing:
            self._standing[tenant.name] = known.of_status(tenant.status.drift)
        return self._standing[tenant.name]

    def _newly(self, tenant: SecureTenant, findings: Iterable[Finding]) -> list[Finding]:
        before = self._known(tenant)
        return [finding for finding in findings if finding.key not in before]

    def _remember(self, tenant: SecureTenant, result: Pass) -> None:
        """Remember the outstanding deviations. Where nothing was judged, those known before are kept."""
        if result.plans:
            self._standing[tenant.name] = Known({finding.key: finding.manager for finding in result.outstanding})

    async def _report(self, result: Pass, seconds: float = 0.0) -> None:
        """Report metrics and events, and write the status where it differs, all from the same value."""
        computed = status.compute(result, self._now())
        self._remember(result.tenant, result)
        self._reporter.report(result, computed, seconds)
        await self._resource.write_status(result.tenant, computed)

    def _until(self, when: datetime | None) -> float | None:
        """Seconds until a time, plus 0.05, so that it has surely passed by then."""
        return max(0.0, (when - self._now()).total_seconds()) + 0.05 if when is not None else None


def earliest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)


def _is_going(finding: Finding) -> bool:
    """Whether a rollout deletes the object. (What is only released stays in `status.applied` until that is done.)"""
    return finding.rollout and finding.action == "Delete"


def _is_reread(finding: Finding) -> bool:
    """Whether a control reads its conditions off the object that was written. What several controls want of one object
    is a condition of theirs only once it was there before."""
    parts = finding.desired.parts if finding.desired is not None and finding.action != "Create" else ()
    return any(NAMED[name].rereads for name in {finding.control, *(part.control for part in parts)})
