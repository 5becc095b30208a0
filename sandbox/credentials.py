"""Tokens, the service accounts' key and kubeconfig files of one instance."""

import base64
import secrets
from pathlib import Path

import yaml

# Order of the P-256 group: a private key is any number from 1 below it.
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P256_OID = bytes.fromhex("a00a06082a8648ce3d030107")

#: The group that the admission policies let through (docs/operations.md). The administrator is in it: tests and demo
#: tamper with what is locked.
BREAK_GLASS = "securetenant:break-glass"

#: user name -> groups, for the programs that talk to the API server.
USERS = {
    "admin": ("system:masters", BREAK_GLASS),
    "kwok": ("system:masters",),
    "system:kube-controller-manager": (),
    "system:kube-scheduler": (),
}


def service_account_key() -> str:
    """A new ECDSA P-256 private key as PEM (SEC 1), to sign service account tokens with.

    The public point may be left out (RFC 5915), which Go computes on reading, so that no cryptography package is
    needed for a throw-away key.
    """
    scalar = secrets.randbelow(_P256_ORDER - 1) + 1
    body = b"\x02\x01\x01" + b"\x04\x20" + scalar.to_bytes(32, "big") + _P256_OID
    encoded = base64.encodebytes(b"\x30" + bytes([len(body)]) + body).decode()
    return f"-----BEGIN EC PRIVATE KEY-----\n{encoded}-----END EC PRIVATE KEY-----\n"


def tokens() -> dict[str, str]:
    """A new token for each of :data:`USERS`."""
    return {user: secrets.token_urlsafe(32) for user in USERS}


def token_file(by_user: dict[str, str]) -> str:
    """The API server's ``--token-auth-file``: token, user, uid, groups."""
    return "".join(f'{token},{user},{user},"{",".join(USERS[user])}"\n' for user, token in by_user.items())


def write_secret(path: Path, text: str) -> None:
    """Write ``text`` into ``path``, which only the owner may read."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def write_kubeconfig(path: Path, *, url: str, ca_file: Path, token: str, user: str = "admin") -> None:
    """Write a kubeconfig for ``user`` with ``token``; the CA is embedded so that the file works anywhere."""
    ca_data = base64.b64encode(ca_file.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sandbox", "cluster": {"server": url, "certificate-authority-data": ca_data}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": user, "namespace": "default"}}],
        "current-context": "sandbox",
    }
    write_secret(path, yaml.safe_dump(config, sort_keys=False))
