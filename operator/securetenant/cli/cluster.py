"""Reading the SecureTenants of a cluster, for the commands that look at one."""

import contextlib
import os
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from securetenant.api.tenant import SecureTenant
    from securetenant.kube.transport import ApiError, Transport

    # By name; each with the reason why the models refuse its spec, "" if they accept it.
    Tenants: TypeAlias = dict[str, tuple[SecureTenant, str]]

Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", metavar="PATH", help="Default: KUBECONFIG, the pod's account, ~/.kube/config."),
]
Context = Annotated[
    str | None,
    typer.Option("--context", metavar="NAME", help="Context of the kubeconfig; default: its current one."),
]


async def read_tenants(transport: "Transport") -> "Tenants":
    """The SecureTenants of the cluster. Raises ApiError; NotFound where it does not know them."""
    import msgspec

    from securetenant.api.refused import parse
    from securetenant.model.kinds import SECURE_TENANT

    async with contextlib.aclosing(transport.pages(SECURE_TENANT)) as pages:
        bodies = (body async for page in pages for body in msgspec.json.decode(page)["items"])
        return {body["metadata"]["name"]: parse(body) async for body in bodies}


def refuse_writes() -> None:
    """For `Transport.before_write`."""
    raise AssertionError("this command must not write")


def explained(error: "ApiError", server: str) -> str:
    """One sentence about a failed request."""
    from securetenant.kube.transport import Forbidden, Unauthorized, Unreachable

    if isinstance(error, Unreachable):
        return f"cannot reach the API server at {server}: {_cause(error)}"
    if isinstance(error, Unauthorized):
        return f"the API server at {server} does not accept the kubeconfig's credentials: {error.message}"
    if isinstance(error, Forbidden):
        return f"the API server at {server} forbids it: {error.message}"
    return f"the API server at {server}: {error}"


def _cause(error: "ApiError") -> str:
    """The system's error text, such as "Connection refused"; if there is none, the whole message."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 1:
        return os.strerror(cause.errno)
    return error.message
