"""Writes to the SecureTenant itself: finalizer and commitments, status, and removal of the finalizer."""

from collections.abc import Callable

import msgspec
import structlog

from securetenant.api.status import SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.cache.tenants import Tenants
from securetenant.engine import status
from securetenant.engine.inflight import WritesInFlight
from securetenant.kube.errors import malformed
from securetenant.kube.transport import JSON_PATCH, MERGE_PATCH, Transport
from securetenant.model import names
from securetenant.model.kinds import SECURE_TENANT
from securetenant.model.objects import JsonValue, Ref

log = structlog.get_logger("securetenant.reconcile")


class TenantWriter:
    """`enqueue` takes the tenants that an answer concerns: an answer is the whole object, with other people's edits."""

    def __init__(
        self, transport: Transport, tenants: Tenants, in_flight: WritesInFlight, enqueue: Callable[[set[str]], None]
    ) -> None:
        self._transport = transport
        self._tenants = tenants
        self._in_flight = in_flight
        self._enqueue = enqueue

    async def patch(
        self, tenant: SecureTenant, body: JsonValue, content_type: str = MERGE_PATCH, subresource: str = ""
    ) -> None:
        """Write the SecureTenant and store the answer. An edit in the answer gets a pass of its own; this pass goes on
        with the spec that it judged."""
        ref = Ref(SECURE_TENANT, "", tenant.name)
        with self._in_flight.writing(ref) as write:
            raw = await self._transport.patch(SECURE_TENANT, ref, body, content_type, subresource)
            version = _version(raw, tenant)
            self._enqueue(self._tenants.store(raw))
            write.answer(version)

    async def write_status(self, tenant: SecureTenant, wanted: SecureTenantStatus) -> None:
        """Write the status if it differs from the stored one. Raises ApiError."""
        body = status.dump(wanted)
        if self._tenants.status(tenant.name) == body:
            return
        operations: list[JsonValue] = [
            {"op": "test", "path": "/metadata/uid", "value": tenant.metadata.uid},
            {"op": "add", "path": "/status", "value": body},
        ]
        # NotFound is raised too: either it is deleted, and the event will follow, or a proxy answered, not the server.
        await self.patch(tenant, operations, JSON_PATCH, "status")
        if self._tenants.status(tenant.name) not in (body, {}):
            log.warning(
                "something changes the status when it is written: find the webhook or policy that does, and exempt "
                "SecureTenants there",
                tenant=tenant.name,
            )

    async def remove_finalizer(self, tenant: SecureTenant) -> None:
        """Remove our finalizer. Raises NotFound if there is none, so that the caller has the kind relisted."""
        finalizers: list[JsonValue] = [f for f in tenant.metadata.finalizers if f != names.FINALIZER]
        patch: JsonValue = {"metadata": {"resourceVersion": tenant.metadata.resource_version, "finalizers": finalizers}}
        await self.patch(tenant, patch)


class _Meta(msgspec.Struct, rename="camel"):
    uid: str = ""
    resource_version: str = ""


class _Answer(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)


_decode = msgspec.json.Decoder(_Answer).decode


def _version(raw: bytes, tenant: SecureTenant) -> int:
    """The resourceVersion in the answer to a write. Raises Malformed if the answer is about another object."""
    metadata = _decode(raw).metadata
    if metadata.uid != tenant.metadata.uid:
        raise malformed(raw, f"answer about SecureTenant {tenant.name}", "PATCH", tenant.name)
    return int(metadata.resource_version)
