"""The two plain configurations: that of a pod, and a kubeconfig with a token. All others are the library's.

Ours for what it spares the operator as it ships, which reads a pod's: importing `kubernetes.config` takes 20 MB of
memory, a fifth of all at 1,000 tenants, and 0.2 s of a start. What is not wholly understood here goes to the library.
"""

import base64
import binascii
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CLUSTER: Final = frozenset({"server", "certificate-authority", "certificate-authority-data", "tls-server-name"})
_USER: Final = frozenset({"token", "tokenFile"})


def in_cluster(loaded: SimpleNamespace) -> None:
    """The configuration of the pod we run in, from its environment and its ServiceAccount's folder. Raises OSError, and
    ValueError for what is empty."""
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    token = (ACCOUNT / "token").read_text().strip()
    authority = ACCOUNT / "ca.crt"
    for what, value in (("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port), ("the token", token)):
        if not value:
            raise ValueError(f"{what} is empty")
    if not authority.stat().st_size:
        raise ValueError(f"{authority} is empty")
    loaded.host = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    loaded.api_key = {"BearerToken": f"Bearer {token}"}
    loaded.ssl_ca_cert = str(authority)


def kubeconfig(paths: str, context: str | None, loaded: SimpleNamespace) -> bool:
    """Fill in a kubeconfig of one file whose user has nothing but a token; whether it is one. Nothing is raised: the
    library tells what is wrong with a file."""
    path = Path(paths).expanduser()
    try:
        chosen = _chosen(path, context)
        cluster, user = chosen["cluster"], chosen["user"]
        if os.pathsep in paths or cluster.keys() - _CLUSTER or user.keys() - _USER or len(user) != 1:
            return False
        if not all(isinstance(value, str) and value for value in (*cluster.values(), *user.values())):
            return False
        token = (user["token"] if "token" in user else (path.parent / user["tokenFile"]).read_text()).strip()
        authority = cluster.get("certificate-authority-data")
        data = base64.b64decode(authority, validate=True).decode("ascii") if authority is not None else None
        if not token.isprintable() or " " in token or not token or not cluster["server"].startswith("https://"):
            return False
    except (OSError, LookupError, TypeError, AttributeError, ValueError, binascii.Error):
        return False
    named = cluster.get("certificate-authority")
    if (data is None) == (named is None) or "\0" in (named or ""):
        return False
    loaded.host = cluster["server"]
    loaded.api_key = {"BearerToken": f"Bearer {token}"}
    loaded.ssl_ca_cert = str(path.parent / named) if named is not None else None
    loaded.ssl_ca_data = data
    loaded.tls_server_name = cluster.get("tls-server-name")
    loaded.context = chosen["name"]
    loaded.is_plugin = False
    return True


def _chosen(path: Path, context: str | None) -> dict[str, Any]:
    """The context in use, with its cluster and user. Raises what a malformed file leads to."""
    import yaml

    try:
        # As untyped as the file; what is not of the expected form raises TypeError or AttributeError at its use.
        read: Any = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    name = read["current-context"] if context is None else context
    at = _only(read["contexts"], name)["context"]
    return {
        "name": name,
        "cluster": _only(read["clusters"], at["cluster"])["cluster"],
        "user": _only(read["users"], at["user"])["user"],
    }


def _only(listed: Any, name: str) -> dict[str, Any]:
    """The one entry of that name. Raises LookupError."""
    found: list[dict[str, Any]] = [one for one in listed if one["name"] == name]
    if len(found) != 1:
        raise LookupError(name)
    return found[0]
