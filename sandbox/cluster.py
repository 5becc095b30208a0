"""An existing cluster in the sandbox's place, when somebody names one; never one that may be production.

``SECURETENANT_TEST_KUBECONFIG`` names the file, ``SECURETENANT_TEST_CONTEXT`` the context (else the current one). The
demo and the cluster tests create and delete namespaces, tamper with policies and taint nodes there, so a context that
may be production is refused unless ``SECURETENANT_ALLOW_CONTEXT`` has its exact name. The user of the context must be
in the group ``securetenant:break-glass``, or the lock on namespaces refuses the tampering.
"""

import base64
import ipaddress
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from sandbox import build, credentials
from sandbox.errors import SandboxError
from sandbox.plane import Plane

KUBECONFIG = "SECURETENANT_TEST_KUBECONFIG"
CONTEXT = "SECURETENANT_TEST_CONTEXT"
ALLOW = "SECURETENANT_ALLOW_CONTEXT"
_PRODUCTION = re.compile(r"(?<![a-z])(prod|prd|production|live)(?![a-z])", re.IGNORECASE)


def attach(folder: Path, environment: Mapping[str, str] = os.environ) -> Plane | None:
    """The cluster that ``environment`` names, or None if it names none.

    ``folder`` gets a kubeconfig that has that one context only. Raises :class:`SandboxError` for a context that may be
    production, and for a file that cannot be used.
    """
    chosen = environment.get(KUBECONFIG)
    if not chosen:
        return None
    source = Path(chosen).expanduser().resolve()
    try:
        config = yaml.safe_load(source.read_text())
    except OSError as error:
        raise SandboxError(f"{KUBECONFIG}={chosen}: {error.strerror}") from error
    single = one_context(config, environment.get(CONTEXT) or config.get("current-context", ""), source)
    name, cluster = single["current-context"], single["clusters"][0]["cluster"]
    if (reason := looks_like_production(name, single)) and environment.get(ALLOW) != name:
        raise SandboxError(
            f"context {name!r} of {source} is refused: {reason}. This creates and deletes namespaces and tampers with "
            f"policies on purpose. If that is what you want there, set {ALLOW}={name}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    kubeconfig = folder / "kubeconfig"
    credentials.write_secret(kubeconfig, yaml.safe_dump(single, sort_keys=False))
    token, certificate = _identity(single["users"][0]["user"], source, folder)
    return Plane(
        folder=folder,
        url=cluster["server"],
        kubeconfig=kubeconfig,
        ca_file=_ca_file(cluster, source, folder),
        admin_token=token,
        assets=_kubectl_folder(),
        owned=False,
        client_certificate=certificate,
    )


def one_context(config: Mapping[str, Any], name: str, source: Path) -> dict[str, Any]:
    """A kubeconfig with only the context ``name`` and what it refers to; paths in it are made absolute."""

    def named(kind: str, wanted: str) -> dict[str, Any]:
        found = [entry for entry in config.get(kind) or [] if entry["name"] == wanted]
        if not found:
            known = ", ".join(entry["name"] for entry in config.get(kind) or []) or "none"
            raise SandboxError(f"{source} has no {kind.removesuffix('s')} {wanted!r}; it has: {known}")
        return dict(found[0])

    context = named("contexts", name)
    cluster, user = named("clusters", context["context"]["cluster"]), named("users", context["context"]["user"])
    cluster["cluster"] = _absolute(cluster["cluster"], source, "certificate-authority")
    user["user"] = _absolute(user["user"], source, "client-certificate", "client-key", "tokenFile")
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "users": [user],
        "contexts": [context],
        "current-context": name,
    }


def looks_like_production(name: str, single: Mapping[str, Any]) -> str:
    """Why the context may be production, or "" if it is surely none: a harmless name and a server close by."""
    cluster = single["clusters"][0]
    server = cluster["cluster"]["server"]
    for what, text in (
        ("context", name),
        ("cluster", cluster["name"]),
        ("user", single["users"][0]["name"]),
        ("server", server),
    ):
        if found := _PRODUCTION.search(text):
            return f"its {what} {text!r} has {found[0]!r} in it"
    if not _is_local(urlsplit(server).hostname or ""):
        return f"its server {server} is neither on this machine nor at a private address"
    return ""


def _is_local(host: str) -> bool:
    """A name cannot be judged without asking who answers, so apart from localhost a name is not local."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private


def _absolute(entry: Mapping[str, Any], source: Path, *keys: str) -> dict[str, Any]:
    return {key: str(source.parent / value) if key in keys else value for key, value in entry.items()}


def _ca_file(cluster: Mapping[str, Any], source: Path, folder: Path) -> Path:
    if data := cluster.get("certificate-authority-data"):
        path = folder / "ca.crt"
        path.write_bytes(base64.b64decode(data))
        return path
    if file := cluster.get("certificate-authority"):
        return Path(file)
    raise SandboxError(f"{source}: the cluster has no certificate authority; one is needed")


def _identity(user: Mapping[str, Any], source: Path, folder: Path) -> tuple[str, tuple[Path, Path] | None]:
    """The token, or else certificate and key; exec plug-ins give neither."""
    if token := user.get("token") or (Path(user["tokenFile"]).read_text().strip() if "tokenFile" in user else ""):
        return token, None
    if "client-certificate-data" in user:
        paths = folder / "client.crt", folder / "client.key"
        for path, key in zip(paths, ("client-certificate-data", "client-key-data"), strict=True):
            credentials.write_secret(path, base64.b64decode(user[key]).decode())
        return "", paths
    if "client-certificate" in user:
        return "", (Path(user["client-certificate"]), Path(user["client-key"]))
    raise SandboxError(f"{source}: the user has neither a token nor a client certificate; one of the two is needed")


def _kubectl_folder() -> Path:
    """A kubectl on PATH will do here; only without one is the control plane's built."""
    found = shutil.which("kubectl")
    return Path(found).parent if found else build.ensure()
