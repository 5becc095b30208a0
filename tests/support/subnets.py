"""Hypothesis strategies for the subnets that namespaces ask for, and for SubnetPools."""

import ipaddress
from functools import cache

from hypothesis import strategies as st

from securetenant.model import kinds, names
from tests.support.specs import Document, documents, part_of

_POOLS = ("prod", "test")
_V4, _V6 = ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32")


def _blocks(whole: ipaddress.IPv4Network | ipaddress.IPv6Network, least: int, most: int) -> st.SearchStrategy[str]:
    """Blocks of these prefix lengths, few enough that some overlap."""
    return st.tuples(st.integers(least, most), st.integers(0, 255)).map(lambda drawn: part_of(whole, *drawn))


@cache
def subnets() -> st.SearchStrategy[Document]:
    """The subnet of a namespace: declared, or out of a pool."""
    v4, v6 = _blocks(_V4, 16, 28), _blocks(_V6, 48, 64)
    lengths = {"prefixLength": st.integers(8, 30), "prefixLengthV6": st.integers(32, 122)}
    return st.one_of(
        st.fixed_dictionaries({"pool": st.sampled_from(_POOLS)}, optional=lengths),
        st.fixed_dictionaries({"cidr": v4}, optional={"cidrV6": v6}),
        st.fixed_dictionaries({"cidr": v6}),
    )


@st.composite
def documents_with_subnets(draw: st.DrawFn) -> Document:
    """A valid SecureTenant, with subnets for some namespaces."""
    made = draw(documents())
    for entry in made["spec"]["namespaces"]:
        if draw(st.booleans()):
            entry["subnet"] = draw(subnets())
    if draw(st.booleans()):
        made["spec"]["subnets"] = {"provider": draw(st.sampled_from(("Auto", "KubeOVN", "Calico", "Cilium", "None")))}
    return made


@st.composite
def pool_documents(draw: st.DrawFn) -> Document:
    """A valid SubnetPool, as people write it."""
    numbers = draw(st.lists(st.tuples(st.booleans(), st.integers(0, 7)), min_size=1, max_size=4, unique=True))
    cidrs = [part_of(_V6, 48, number) if is_v6 else part_of(_V4, 16, number) for is_v6, number in numbers]
    some = draw(st.lists(st.sampled_from(cidrs), max_size=3, unique=True))
    spec: Document = {"cidrs": cidrs}
    if draw(st.booleans()) or some:
        spec["reserved"] = [_first(cidr, draw(st.integers(0, 12))) for cidr in some]
    if draw(st.booleans()):
        spec["prefixLength"] = draw(st.integers(16, 30))
    if draw(st.booleans()):
        spec["prefixLengthV6"] = draw(st.integers(48, 122))
    header = {"apiVersion": names.API_VERSION, "kind": kinds.SUBNET_POOL.name}
    return {**header, "metadata": {"name": draw(st.sampled_from(_POOLS))}, "spec": spec}


def _first(cidr: str, longer: int) -> str:
    whole = ipaddress.ip_network(cidr)
    return part_of(whole, whole.prefixlen + longer, 0)
