"""The start: nothing begins before what the operator needs of the cluster is there."""

import asyncio
import time
from typing import Final

import structlog

from securetenant.controls.lookup import CACHED
from securetenant.kube.errors import ApiError, is_away
from securetenant.kube.preflight import Right, missing
from securetenant.kube.reach import Rarely
from securetenant.kube.transport import Transport
from securetenant.model import names
from securetenant.model.kinds import LEASE, SECURE_TENANT

log = structlog.get_logger("securetenant.start")

# How long (seconds) what is missing is waited for: what is applied together with the operator comes a moment later.
PATIENCE: Final = 5.0
# Between two looks (seconds).
PAUSE: Final = 0.5


class StartError(RuntimeError):
    """The operator cannot start; the message says why and what to do."""


async def check(transport: Transport, namespace: str) -> None:
    """Return when all that is needed is there: CRD, the operator's namespace, its rights on its Lease and to what it
    caches. An API server that does not answer is waited for. Raises StartError."""
    rights, rarely, since = needed(namespace), Rarely(), None
    while True:
        try:
            lacking = await missing(transport, namespace, rights)
        except ApiError as error:
            if not is_away(error) and rarely(str(error)):
                log.warning("CRD, namespace and rights cannot be checked yet, tried again", cause=str(error))
        else:
            if not lacking:
                return
            since = time.monotonic() if since is None else since
            if time.monotonic() - since >= PATIENCE:
                raise StartError(". ".join(lacking))
        await asyncio.sleep(PAUSE)


def needed(namespace: str) -> list[Right]:
    """What no instance can do without, whatever the tenants ask for."""
    lease = [Right(LEASE, "create", namespace)]
    lease += [Right(LEASE, verb, namespace, names.LEASE) for verb in ("get", "update")]
    watched = [Right(kind, verb, kind.within) for kind in (SECURE_TENANT, *CACHED) for verb in ("list", "watch")]
    return lease + watched
