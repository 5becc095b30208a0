"""Reading texts: the documents in them, and the two halves of `api.load.read`, for SecureTenants."""

from datetime import datetime

from securetenant.api.load import Problem, read, warnings
from securetenant.api.tenant import SecureTenant
from securetenant.cli.documents import Document, documents


def problems(document: object, now: datetime | None = None) -> list[Problem]:
    """What is wrong with a document."""
    tenant, found = read(document)
    return warnings(tenant, now) if isinstance(tenant, SecureTenant) else found


def load(document: object) -> SecureTenant:
    """The tenant of a sound document."""
    tenant, found = read(document)
    assert isinstance(tenant, SecureTenant), "\n".join(map(str, found))
    return tenant


def parse(text: str, source: str = "t") -> list[Document]:
    """The documents of a text in which nothing is refused."""
    found = list(documents(text, source))
    sound = [one for one in found if isinstance(one, Document)]
    assert sound == found
    return sound
