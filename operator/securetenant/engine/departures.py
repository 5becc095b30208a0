"""What is done for a SecureTenant that is being deleted, until it is gone."""

from collections.abc import Callable, Sequence
from datetime import datetime

from securetenant.api.status import Condition
from securetenant.api.tenant import SecureTenant
from securetenant.cache.tenants import Tenants
from securetenant.controls.world import World
from securetenant.engine import deletion, outcomes, status
from securetenant.engine.reporter import Reporter
from securetenant.engine.resource import Again
from securetenant.engine.strays import Strays
from securetenant.engine.tenantwriter import TenantWriter
from securetenant.engine.writer import Writer
from securetenant.kube.transport import ApiError
from securetenant.model.objects import Observed


class Departures:
    """Carries out deletion policies (see deletion.py). Its only state serves the final report, made once for each
    SecureTenant."""

    def __init__(
        self,
        writer: Writer,
        resource: TenantWriter,
        tenants: Tenants,
        world: World,
        reporter: Reporter,
        strays: Strays,
        now: Callable[[], datetime],
    ) -> None:
        self._writer = writer
        self._resource = resource
        self._tenants = tenants
        self._world = world
        self._reporter = reporter
        self._strays = strays
        self._now = now
        self._released: dict[str, int] = {}  # objects, by tenant
        self._reported_gone: dict[str, str] = {}  # UIDs, by tenant

    def forget(self, name: str) -> None:
        """The tenant is gone."""
        self._released.pop(name, None)
        self._reported_gone.pop(name, None)

    async def delete(self, tenant: SecureTenant) -> Again:
        """Carry out the deletion policy, report what it waits for, and finally remove our finalizer."""
        if not deletion.is_pending(tenant):
            await self._report_released(tenant)
            return Again()
        remaining = deletion.doomed(tenant, self._world) if tenant.spec.deletion_policy == "Delete" else []
        if remaining:
            errors = await self._send_deletions(tenant, remaining)
            await self._report_condition(tenant, deletion.failed(errors) if errors else deletion.waiting(remaining))
            return Again(retry=bool(errors))
        todo = deletion.releases(tenant, self._world)
        todo += self._strays.findings(tenant.name, self._world, own={f.ref.place for f in todo})
        outcome = await self._writer.undo(todo, tenant.name, tenant.metadata.uid)
        self._reporter.departed(tenant, outcome.done)
        if outcome.failed:
            news = [(f, error) for f, error in outcome.failed if outcomes.is_news(error, outcomes.SILENT_RETRIES)]
            if news:
                await self._report_condition(tenant, deletion.failed([outcomes.failure(f, error) for f, error in news]))
            return Again(retry=True)
        await self._report_released(tenant)
        self._released[tenant.name] = self._released.get(tenant.name, 0) + len(outcome.done)
        fresh = self._tenants.get(tenant.name)  # in the version that our status write made; an edit gets its own pass
        if fresh is not None and _same_spec(fresh, tenant):
            try:
                await self._resource.remove_finalizer(fresh)
            except ApiError as error:
                # Where the answer is lost, the next event may already be the deletion.
                if error.is_uncertain:
                    self._report_gone(tenant)
                raise
            self._report_gone(tenant)
        return Again()

    def _report_gone(self, tenant: SecureTenant) -> None:
        """Report the end of the deletion, once for each SecureTenant."""
        if self._reported_gone.get(tenant.name) != tenant.metadata.uid:
            self._reported_gone[tenant.name] = tenant.metadata.uid
            self._reporter.gone(tenant, self._released.get(tenant.name, 0))

    async def _send_deletions(self, tenant: SecureTenant, remaining: Sequence[Observed]) -> list[str]:
        errors = []
        going = [have for have in remaining if not have.deleting]
        for have, request in zip(going, deletion.deletions(going), strict=True):
            try:
                await self._writer.send(request)
            except ApiError as error:
                errors.append(f"{request.ref}: {error.message}")
            else:
                self._reporter.deleted(tenant, have)
        return errors

    async def _report_condition(self, tenant: SecureTenant, condition: Condition) -> None:
        """Report the condition of a tenant that is being deleted; the others are dropped, since nothing is judged any
        more."""
        reconciling = Condition.of("Reconciling", "True", condition.reason, condition.message)
        self._reporter.deleting(tenant, condition)
        await self._resource.write_status(tenant, status.unjudged(tenant, [condition, reconciling], self._now()))

    async def _report_released(self, tenant: SecureTenant) -> None:
        """Where other finalizers hold the SecureTenant, its status must not claim what is no longer enforced."""
        holders = deletion.others(tenant)
        if not holders:
            return
        condition = deletion.released(holders)
        self._reporter.deleting(tenant, condition)
        await self._resource.write_status(tenant, status.released(tenant, condition, self._now()))


def _same_spec(one: SecureTenant, other: SecureTenant) -> bool:
    return (one.metadata.uid, one.metadata.generation) == (other.metadata.uid, other.metadata.generation)
