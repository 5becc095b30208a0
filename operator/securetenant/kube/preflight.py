"""What the operator needs of the cluster before it can do anything: asked at the start, so that what is missing is
said together with what to apply, and not met as a failure that is retried for ever.

The rights are asked for by SelfSubjectAccessReview, which every authenticated user may create (the ClusterRole
`system:basic-user`) and which changes nothing.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import msgspec

from securetenant.kube.errors import Forbidden, NotFound, Unauthorized
from securetenant.kube.transport import Transport
from securetenant.model.kinds import NAMESPACE, SECURE_TENANT, Kind
from securetenant.model.objects import Json, Ref

REMEDY: Final = "kubectl apply -k manifests/, or your overlay of it"
_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_WHO: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one kind, in one namespace or ("") in all, on one object or ("") on any."""

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


async def missing(transport: Transport, namespace: str, rights: Sequence[Right]) -> list[str]:
    """What is not there, each as a sentence with its remedy; `namespace` is the operator's own.

    Raises ApiError where it cannot be told (no answer, an error of the server's).
    """
    try:
        found = [await _crd(transport), await _namespace(transport, namespace), await _refused(transport, rights)]
    except Unauthorized as error:
        return [f"the API server does not accept the credentials from {transport.config.source}: {error.message}"]
    return [sentence for sentence in found if sentence]


async def _crd(transport: Transport) -> str:
    kind = SECURE_TENANT
    try:
        await transport.request("GET", kind.path(), params={"limit": "1"}, kind=kind.name, verb="list")
    except NotFound:
        return (
            f"the API server does not know {kind.plural}.{kind.group} ({kind.version}): "
            f"apply the CRD first ({REMEDY}; the CRD alone: kubectl apply -k crds/)"
        )
    except Forbidden:
        pass  # the rights say which
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
    """Who may not do what, "" if nothing is refused (or the cluster does not let us ask)."""
    try:
        allowed = await asyncio.gather(*(_is_allowed(transport, right) for right in rights))
    except (Forbidden, NotFound):
        return ""
    refused = [right for right, is_allowed in zip(rights, allowed, strict=True) if not is_allowed]
    if not refused:
        return ""
    return (
        f"{await _who(transport)} may not {'; '.join(_told(refused))}: apply the operator's roles ({REMEDY}), and run "
        "it as the ServiceAccount that they are bound to"
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
    # It changes nothing, so the Lease is not asked for first.
    answer = await transport.request("POST", _REVIEWS, body=body, urgent=True)
    return msgspec.json.decode(answer, type=_Review).status.allowed


async def _who(transport: Transport) -> str:
    body: Json = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        answer = await transport.request("POST", _WHO, body=body, urgent=True)
    except (Forbidden, NotFound):
        return "this user"
    return msgspec.json.decode(answer, type=_Who).status.user_info.username


def _told(rights: Iterable[Right]) -> list[str]:
    """ "list and watch networkpolicies.networking.k8s.io in all namespaces", and so on."""
    found = []
    for (kind, namespace, name), same in groupby(rights, key=lambda right: (right.kind, right.namespace, right.name)):
        resource = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
        where = f" in {namespace}" if namespace else ""
        found.append(f"{' and '.join(right.verb for right in same)} {resource}{f' {name}' if name else ''}{where}")
    return found
