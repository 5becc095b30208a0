"""The two halves of `api.load.read`."""

from datetime import datetime

from securetenant.api.load import Problem, read
from securetenant.api.tenant import SecureTenant


def problems(document: object, now: datetime | None = None) -> list[Problem]:
    """What is wrong with a document."""
    return read(document, now)[1]


def load(document: object) -> SecureTenant:
    """The tenant of a sound document."""
    tenant, found = read(document)
    assert tenant is not None, "\n".join(map(str, found))
    return tenant
