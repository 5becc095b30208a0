"""Writes of the SecureTenant itself: finalizer and commitments, status, and its release."""

from collections.abc import Callable

import msgspec
import structlog

from securetenant.api.status import SecureTenantStatus
from securetenant.api.tenant import SecureTenant
from securetenant.cache.tenants import Tenants
from securetenant.engine import status
from securetenant.engine.inflight import Echoes
from securetenant.kube.errors import malformed
from securetenant.kube.transport import JSON_PATCH, MERGE_PATCH, Transport
from securetenant.model import names
from securetenant.model.kinds import SECURE_TENANT
from securetenant.model.objects import JsonValue, Ref

log = structlog.get_logger("securetenant.reconcile")


class TenantWriter:
    """`enqueue` takes the tenants that an answer concerns: it holds the whole object, edits of others included."""

    def __init__(
        self, transport: Transport, tenants: Tenants, echoes: Echoes, enqueue: Callable[[set[str]], None]
    ) -> None:
        self._transport = transport
        self._tenants = tenants
        self._echoes = echoes
        self._enqueue = enqueue

    async def patch(
        self, tenant: SecureTenant, body: JsonValue, content_type: str = MERGE_PATCH, subresource: str = ""
    ) -> None:
        """Write the SecureTenant, and take in the answer. An edit that is in it is judged by a pass of its own; this
        pass goes on with the spec that it judged."""
        ref = Ref(SECURE_TENANT, "", tenant.name)
        with self._echoes.writing(ref) as write:
            raw = await self._transport.patch(SECURE_TENANT, ref, body, content_type, subresource)
            version = _version(raw, tenant)
            self._enqueue(self._tenants.store(raw))
            write.answer(version)

    async def write_status(self, tenant: SecureTenant, wanted: SecureTenantStatus) -> None:
        """Write the status, where it is another than what stands. Raises ApiError."""
        body = status.dump(wanted)
        if self._tenants.status(tenant.name) == body:
            return
        operations: list[JsonValue] = [
            {"op": "test", "path": "/metadata/uid", "value": tenant.metadata.uid},
            {"op": "add", "path": "/status", "value": body},
        ]
        # NotFound is raised as well: deleted in between, as its event will tell, or said by what is not the server.
        await self.patch(tenant, operations, JSON_PATCH, "status")
        if self._tenants.status(tenant.name) not in (body, {}):
            log.warning(
                "the status is not what was written: find the webhook or policy that changes it, and exempt it there",
                tenant=tenant.name,
            )

    async def remove_finalizer(self, tenant: SecureTenant) -> None:
        """Let the SecureTenant go. Raises NotFound if it is not there any more, so that it is looked for."""
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
    """The resourceVersion in the answer to a write of the SecureTenant. Raises Malformed if it is not about that."""
    metadata = _decode(raw).metadata
    if metadata.uid != tenant.metadata.uid:
        raise malformed(raw, f"answer about SecureTenant {tenant.name}", "PATCH", tenant.name)
    return int(metadata.resource_version)
