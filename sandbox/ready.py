"""Whether something answers yet."""

import http.client
import socket
import ssl
from pathlib import Path


def listens(port: int) -> bool:
    """Whether something accepts connections on 127.0.0.1:``port``."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def status(port: int, ca_file: Path, token: str, path: str) -> int | None:
    """The HTTP status of a GET on the API server at 127.0.0.1:``port``, or None while it does not answer."""
    if not listens(port):  # before that its certificate may not be there, or half written
        return None
    try:
        context = ssl.create_default_context(cafile=str(ca_file))
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            return connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return None
