"""The tokens of a SecureTenant (cache/triggers.py) read off its JSON, for a start with thousands of them.

The models cost 0.3 ms for each, this a tenth: what was tampered with is corrected before most tenants are parsed. It
gives what `interests.of_tenant` gives of a spec that the models accept. Of one that they refuse it may give more, until
that is parsed; and of one that is not read here the caller parses at once.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from securetenant.cache.triggers import API_SERVER, node
from securetenant.controls.access.control import subject_key
from securetenant.controls.access.shipped import cluster_role


class _Named(msgspec.Struct):
    name: str


class _Subject(msgspec.Struct):
    kind: str
    name: str
    namespace: str = ""


class _Binding(msgspec.Struct):
    role: str
    subjects: list[_Subject]


class _Access(msgspec.Struct):
    bindings: list[_Binding] = []


class _Peer(msgspec.Struct):
    tenant: str | None = None
    namespace: str | None = None
    cidr: str | None = None


class _Ingress(msgspec.Struct):
    peers: list[_Peer] = msgspec.field(name="from")


class _Egress(msgspec.Struct):
    peers: list[_Peer] = msgspec.field(name="to")


class _Network(msgspec.Struct, rename="camel"):
    ingress: list[_Ingress] = []
    egress: list[_Egress] = []
    api_server: bool = False


class _Quota(msgspec.Struct):
    tenant: dict[str, msgspec.Raw] = {}


class _Selector(msgspec.Struct, rename="camel"):
    match_labels: dict[str, str]


class _Nodes(msgspec.Struct):
    selector: _Selector


class _Spec(msgspec.Struct):
    namespaces: list[_Named] = []
    access: _Access = msgspec.field(default_factory=_Access)
    network: _Network = msgspec.field(default_factory=_Network)
    quota: _Quota = msgspec.field(default_factory=_Quota)
    nodes: _Nodes | None = None


class _Held(msgspec.Struct):
    name: str
    uid: str = ""


class _Status(msgspec.Struct, rename="camel"):
    observed_generation: int = 0
    namespaces: list[_Held] = []


class Sketch(msgspec.Struct):
    """What is read of a SecureTenant before it is parsed."""

    spec: _Spec
    status: _Status = msgspec.field(default_factory=_Status)


_decode: Final = msgspec.json.Decoder(Sketch).decode


def read(text: bytes) -> Sketch | None:
    """The SecureTenant in JSON; None if it is not as most are, and so is one to be parsed."""
    try:
        return _decode(text)
    except msgspec.MsgspecError:
        return None


def tokens(sketch: Sketch) -> frozenset[str]:
    """Its tokens; those of the namespaces that it holds by its status as well."""
    return frozenset(_tokens(sketch.spec)) | {f"ns:{held.name}" for held in sketch.status.namespaces if held.uid}


def _tokens(spec: _Spec) -> Iterator[str]:
    for namespace in spec.namespaces:
        yield f"ns:{namespace.name}"
        yield f"subject:{subject_key('ServiceAccount', '', namespace.name)}"
        if spec.quota.tenant:
            yield f"usage:{namespace.name}"
    ingress = [peer for rule in spec.network.ingress for peer in rule.peers]
    egress = [peer for rule in spec.network.egress for peer in rule.peers]
    for peer in (*ingress, *egress):
        if peer.tenant is not None:
            yield f"peer:{peer.tenant}"
        if peer.namespace is not None:
            yield f"platform:{peer.namespace}"
    if spec.nodes is not None and spec.nodes.selector.match_labels:
        yield node(min(spec.nodes.selector.match_labels.items()))
    for binding in spec.access.bindings:
        yield from (f"subject:{subject_key(s.kind, s.name, s.namespace)}" for s in binding.subjects)
        if binding.subjects:
            yield f"role:{cluster_role(binding.role)}"
    if spec.network.api_server or any(peer.cidr is not None for peer in egress):
        yield API_SERVER
