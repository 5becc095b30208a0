"""What the operator needs in the cluster before it can do anything. It is checked at the start, so that what is missing
is reported together with what to apply, instead of as a failure that is retried for ever.

Rights are checked by SelfSubjectAccessReview, which every authenticated user may create (the ClusterRole
`system:basic-user`) and which changes nothing.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import msgspec
import structlog

from securetenant.api import definitions
from securetenant.api.definitions import Definition
from securetenant.kube.discovery import is_served
from securetenant.kube.errors import ApiError, Forbidden, NotFound, Unauthorized, is_away
from securetenant.kube.reach import Rarely
from securetenant.kube.transport import Transport
from securetenant.model import names
from securetenant.model.kinds import LEASE, NAMESPACE, Kind
from securetenant.model.objects import Json, Ref

log = structlog.get_logger("securetenant.start")

# How long to wait for what is missing (seconds): what is applied together with the operator may exist a little later.
PATIENCE: Final = 5.0
# Between two checks (seconds).
PAUSE: Final = 0.5
REMEDY: Final = "kubectl apply -k manifests/, or your overlay of it"
_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_WHO: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one kind, in one namespace or in all (""), on one object or on any ("")."""

    kind: Kind
    verb: str
    namespace: str = ""
    name: str = ""


class _Allowed(msgspec.Struct):
    allowed: bool = False


class _Review(msgspec.Struct):
    status: _Allowed


class _UserInfo(msgspec.Struct):
    username: str = ""


class _WhoStatus(msgspec.Struct, rename="camel"):
    user_info: _UserInfo


class _Who(msgspec.Struct):
    status: _WhoStatus


class StartError(RuntimeError):
    """The operator cannot start; the message says why and what to do."""


async def check(transport: Transport, namespace: str, kinds: Iterable[Kind]) -> None:
    """Return when everything needed exists: the CRDs, the operator's namespace, its rights on its Lease and to list and
    watch the kinds. Waits for an API server that does not answer. Raises StartError."""
    rights, rarely, since = needed(namespace, kinds), Rarely(), None
    while True:
        try:
            lacking = await missing(transport, namespace, rights)
        except ApiError as error:
            if not is_away(error) and rarely(str(error)):
                log.warning("CRD, namespace and rights cannot be checked yet, retrying", cause=str(error))
        else:
            if not lacking:
                return
            since = time.monotonic() if since is None else since
            if time.monotonic() - since >= PATIENCE:
                raise StartError(". ".join(lacking))
        await asyncio.sleep(PAUSE)


def needed(namespace: str, kinds: Iterable[Kind]) -> list[Right]:
    """The rights that every instance needs, whatever the tenants declare."""
    lease = [Right(LEASE, "create", namespace)]
    lease += [Right(LEASE, verb, namespace, names.LEASE) for verb in ("get", "update")]
    return lease + [Right(kind, verb, kind.within) for kind in kinds for verb in ("list", "watch")]


async def unlisted(transport: Transport, kinds: Iterable[Kind]) -> str:
    """Which of these kinds the operator may not list though it judges their objects, in words with the remedy; "" if it
    may list all, or if that cannot be found out."""
    try:
        return await _refused(transport, [Right(kind, "list") for kind in kinds])
    except ApiError:
        return ""


async def missing(transport: Transport, namespace: str, rights: Sequence[Right]) -> list[str]:
    """What is missing, each as a sentence with its remedy; `namespace` is the operator's own.

    Raises ApiError where that cannot be found out (no answer, or a server error).
    """
    try:
        found = [await _crd(transport, definition) for definition in definitions.DEFINITIONS]
        found += [await _namespace(transport, namespace), await _refused(transport, rights)]
    except Unauthorized as error:
        return [f"the API server does not accept the credentials from {transport.config.source}: {error.message}"]
    return [sentence for sentence in found if sentence]


async def _crd(transport: Transport, definition: Definition) -> str:
    kind = definition.kind
    try:
        await transport.request("GET", kind.path(), params={"limit": "1"}, kind=kind.name, verb="list")
    except NotFound:
        return (
            f"the API server does not know {definition.name} ({kind.version}): "
            f"apply the CRD first ({REMEDY}; the CRD alone: kubectl apply -k crds/)"
        )
    except Forbidden:
        pass  # reported below with the missing rights
    return ""


async def _namespace(transport: Transport, name: str) -> str:
    try:
        await transport.get(NAMESPACE, Ref(NAMESPACE, "", name))
    except NotFound:
        return (
            f"the namespace {name}, where the operator's Lease belongs, does not exist: apply it first ({REMEDY}), or "
            "name the one that you have with SECURETENANT_OPERATOR_NAMESPACE"
        )
    except Forbidden:
        pass
    return ""


async def _refused(transport: Transport, rights: Sequence[Right]) -> str:
    """Who may not do what, in words; "" if nothing is refused (or the cluster does not let us ask)."""
    try:
        allowed = await asyncio.gather(*(_is_allowed(transport, right) for right in rights))
    except (Forbidden, NotFound):
        return ""
    refused = [right for right, is_allowed in zip(rights, allowed, strict=True) if not is_allowed]
    refused = [right for right in refused if not right.kind.optional or await is_served(transport, right.kind)]
    if not refused:
        return ""
    return (
        f"{await user(transport) or 'this user'} may not {'; '.join(_words(refused))}: apply the operator's roles "
        f"({REMEDY}), and run it as the ServiceAccount that they are bound to"
    )


async def _is_allowed(transport: Transport, right: Right) -> bool:
    attributes: Json = {
        "group": right.kind.group,
        "version": right.kind.version,
        "resource": right.kind.plural,
        "verb": right.verb,
        "namespace": right.namespace,
        "name": right.name,
    }
    body: Json = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    # It changes nothing, so it is sent without checking the Lease first.
    answer = await transport.request("POST", _REVIEWS, body=body, urgent=True)
    return msgspec.json.decode(answer, type=_Review).status.allowed


async def user(transport: Transport) -> str:
    """The name of the user that the API server takes us for; "" if it does not say. Raises ApiError without an
    answer."""
    body: Json = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = await transport.request("POST", _WHO, body=body, urgent=True)
    except (Forbidden, NotFound):
        return ""
    try:
        return msgspec.json.decode(answer, type=_Who).status.user_info.username
    except msgspec.MsgspecError:
        return ""


def _words(rights: Iterable[Right]) -> list[str]:
    """ "list and watch networkpolicies.networking.k8s.io in all namespaces", and so on."""
    found = []
    for (kind, namespace, name), same in groupby(rights, key=lambda right: (right.kind, right.namespace, right.name)):
        resource = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
        where = f" in {namespace}" if namespace else ""
        found.append(f"{' and '.join(right.verb for right in same)} {resource}{f' {name}' if name else ''}{where}")
    return found
