"""Hypothesis strategies for valid SecureTenants, for property tests of all that takes one.

`documents()` gives them as people write them (a dict as YAML would give it), `secure_tenants()` as models. Names come
from small pools, so that tenants, namespaces and labels meet: several draws make tenants that have to do with each
other.
"""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from securetenant.api.tenant import SecureTenant
from securetenant.model import names, quantity
from tests.support.reading import load

T = TypeVar("T")
Document = dict[str, Any]

TENANTS = ("payments", "core-banking", "risk", "t0")
NAMESPACES = ("payments-prod", "payments-test", "ledger-prod", "ledger-test", "risk-lab", "n0")
PLATFORM = ("ingress-nginx", "monitoring", "kube-system")
TEMPLATES = ("web-behind-ingress", "database")
PARAMETERS = ("web", "port", "client", "from")
SUFFIXES = ("", "n", "u", "m", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi", "e2", "E3", "e-3", "e+6")
_LABEL_KEYS = ("app", "tier", "example.com/role", "env")
_LABEL_VALUES = ("", "web", "db", "a.b_c-D", "1")
_HOSTS = ("*.bank.example", "pay.bank.example", "a.pay.bank.example", "localhost")
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_COUNTED = ("pods", "services", "secrets", "count/deployments.apps", "services.nodeports", "persistentvolumeclaims")
_MEASURED = (
    "requests.cpu",
    "limits.cpu",
    "requests.memory",
    "limits.memory",
    "requests.storage",
    "requests.nvidia.com/gpu",
)


#: What the CRD fills into an empty spec.
DEFAULTS: Final[Document] = {
    "mode": "Enforce",
    "deletionPolicy": "Retain",
    "access": {"foreign": "Report"},
    "network": {"isolation": "Namespace", "dns": True, "apiServer": False, "peersBy": "Selector", "foreign": "Report"},
    "subnets": {"provider": "Auto"},
    "admission": "Deny",
    "runtime": {
        "podSecurity": "Restricted",
        "readOnlyRootFilesystem": True,
        "serviceAccountTokens": True,
        "evictable": True,
    },
    "exposure": {
        "nodePorts": False,
        "loadBalancers": False,
        "externalIPs": False,
        "manualEndpoints": False,
        "ingress": {"tlsRequired": True},
    },
    "locks": {"namespaces": True, "posture": True},
}


def drawn(strategy: st.SearchStrategy[T], count: int) -> list[T]:
    """Up to so many values, for a test that puts them all to a server at once."""
    made: list[T] = []

    @settings(max_examples=count, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(value: T) -> None:
        made.append(value)

    collect()
    return made


def _is_quantity(text: str) -> bool:
    try:
        return quantity.parse(text) <= 10**17
    except ValueError:
        return False


@st.composite
def _quantity(draw: st.DrawFn) -> str:
    whole = draw(st.integers(0, draw(st.sampled_from((9, 2000, 10**6, 10**17)))))
    decimals = draw(st.sampled_from(("", "", "", ".5", ".250", ".000", ".0009", ".123456789")))
    return f"{whole}{decimals}{draw(st.sampled_from(SUFFIXES))}"


@cache
def quantities() -> st.SearchStrategy[str]:
    """Any quantity that a spec may hold, in any writing."""
    return _quantity().filter(_is_quantity)


def _some(pool: Sequence[str], most: int = 3) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(pool), min_size=1, max_size=most, unique=True)


def _fields(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries(required, optional=optional)


@cache
def labels(least: int = 0) -> st.SearchStrategy[dict[str, str]]:
    """Labels of a pod or a node."""
    return st.dictionaries(st.sampled_from(_LABEL_KEYS), st.sampled_from(_LABEL_VALUES), min_size=least, max_size=2)


@cache
def pod_selectors() -> st.SearchStrategy[Document]:
    """A selector over pods, the empty one among them."""
    key = st.sampled_from(_LABEL_KEYS)
    expression = st.one_of(
        st.fixed_dictionaries(
            {"key": key, "operator": st.sampled_from(("In", "NotIn")), "values": _some(_LABEL_VALUES)}
        ),
        st.fixed_dictionaries({"key": key, "operator": st.sampled_from(("Exists", "DoesNotExist"))}),
    )
    return _fields({}, {"matchLabels": labels(), "matchExpressions": st.lists(expression, max_size=2)})


@st.composite
def cidr_peers(draw: st.DrawFn) -> Document:
    """A CIDR of either family, with or without exceptions that lie within it."""
    bits, text = draw(st.sampled_from(((32, "10.0.0.0"), (32, "192.168.0.0"), (128, "2001:db8::"), (128, "64:ff9b::"))))
    length = draw(st.integers(0, bits))
    whole = ipaddress.ip_network((text, length), strict=False)
    peer: Document = {"cidr": f"{written(draw, int(whole.network_address), bits)}/{length}"}
    if length < bits and draw(st.booleans()):
        inner = draw(st.lists(st.integers(length + 1, min(bits, length + 12)), max_size=2))
        parts = {part_of(whole, prefix, draw(st.integers(0, 2 ** (prefix - length) - 1))) for prefix in inner}
        peer["except"] = sorted(parts)
    return peer


def part_of(whole: ipaddress.IPv4Network | ipaddress.IPv6Network, prefix: int, index: int) -> str:
    """The block of this prefix length and number within another."""
    start = int(whole.network_address) + (index << (whole.max_prefixlen - prefix))
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    address = ipaddress.IPv4Address(start) if whole.version == 4 else ipaddress.IPv6Address(start)
    return f"{address}/{prefix}"


def written(draw: st.DrawFn, number: int, bits: int) -> str:
    """An address in one of its writings."""
    if bits == 32:
        return str(ipaddress.IPv4Address(number))
    address = ipaddress.IPv6Address(number)
    text = draw(st.sampled_from((str(address), address.exploded, *_dotted(address))))
    return text.upper() if draw(st.booleans()) else text


def _dotted(address: ipaddress.IPv6Address) -> tuple[str, ...]:
    """With the last 32 bits as IPv4."""
    tail = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    groups = address.exploded.split(":")[:6]
    short = ["0" if group == "0000" else group.lstrip("0") for group in groups]
    high = str(ipaddress.IPv6Address(int(address) >> 32 << 32))
    compressed = (f"{high}{tail}",) if high.endswith("::") else ()
    return (f"{':'.join(groups)}:{tail}", f"{':'.join(short)}:{tail}", *compressed)


@cache
def peers() -> st.SearchStrategy[Document]:
    """A peer of each form."""
    pods = {"pods": pod_selectors()}
    tenant = _fields({"tenant": st.sampled_from(TENANTS)}, {"namespaces": _some(NAMESPACES), **pods})
    return st.one_of(tenant, tenant, _fields({"namespace": st.sampled_from(PLATFORM)}, pods), cidr_peers())


@st.composite
def ports(draw: st.DrawFn) -> Document:
    """A port, a range, or all of a protocol."""
    made: Document = {}
    if draw(st.booleans()):
        made["protocol"] = draw(st.sampled_from(("TCP", "UDP", "SCTP")))
    if draw(st.integers(0, 4)):
        made["port"] = draw(st.one_of(st.sampled_from((1, 80, 443, 8443, 65535)), st.integers(1, 65535)))
        if draw(st.booleans()):
            made["endPort"] = draw(st.integers(made["port"], 65535))
    return made


@cache
def times() -> st.SearchStrategy[str]:
    """A time of the years around 2026, in UTC."""
    return st.integers(-1000, 1000).map(lambda days: (_EPOCH + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ"))


@cache
def _rules(own: str, other: str, declared: tuple[str, ...]) -> st.SearchStrategy[list[Document]]:
    """Rules of one direction; `own` and `other` are the fields of the two ends."""
    side = _fields({}, {"pods": pod_selectors(), **({"namespaces": _some(declared)} if declared else {})})
    rule = _fields(
        {"name": st.sampled_from(("one", "two", "three")), other: st.lists(peers(), min_size=1, max_size=3)},
        {
            own: side,
            "ports": st.lists(ports(), max_size=3),
            "ticket": st.sampled_from(("", "CHG-1")),
            "expires": times(),
        },
    )
    return st.lists(rule, max_size=3, unique_by=lambda made: str(made["name"]))


@cache
def arguments() -> st.SearchStrategy[list[Document]]:
    """Values for the parameters of a template."""
    forms: dict[str, st.SearchStrategy[Any]] = {
        "pods": pod_selectors(),
        "port": st.integers(1, 65535),
        "namespaces": _some(NAMESPACES),
        "namespace": st.sampled_from(PLATFORM),
        "cidr": cidr_peers().map(lambda peer: peer["cidr"]),
        "tenant": st.sampled_from(TENANTS),
    }
    name = st.sampled_from(PARAMETERS)
    argument = st.one_of([st.fixed_dictionaries({"name": name, form: value}) for form, value in forms.items()])
    return st.lists(argument, max_size=3, unique_by=lambda made: str(made["name"]))


@cache
def _uses(declared: tuple[str, ...]) -> st.SearchStrategy[list[Document]]:
    """What a tenant uses of templates, each under a name of its own."""
    use = _fields(
        {"name": st.sampled_from(("web", "db", "scrape")), "template": st.sampled_from(TEMPLATES)},
        {
            "parameters": arguments(),
            "ticket": st.sampled_from(("", "CHG-2")),
            "expires": times(),
            **({"namespaces": _some(declared)} if declared else {}),
        },
    )
    return st.lists(use, max_size=2, unique_by=lambda made: str(made["name"]))


@cache
def hard() -> st.SearchStrategy[Document]:
    """The hard limits of a quota, numbers among them."""
    whole = st.one_of(st.integers(0, 500), st.integers(0, 500).map(str), st.sampled_from(("1k", "0", "2e1")))
    counted = st.dictionaries(st.sampled_from(_COUNTED), whole, max_size=3)
    measured = st.dictionaries(st.sampled_from(_MEASURED), quantities(), max_size=3)
    return st.tuples(counted, measured).map(lambda both: {**both[0], **both[1]})


@st.composite
def _ordered_amounts(draw: st.DrawFn, fields: Sequence[str], resources: Sequence[str]) -> Document:
    """Amounts that rise from field to field for each resource."""
    made: dict[str, Document] = {}
    for resource in draw(_some(resources)):
        values = sorted(draw(st.lists(quantities(), min_size=len(fields), max_size=len(fields))), key=quantity.nanos)
        for name, value in zip(fields, values, strict=True):
            if draw(st.booleans()):
                made.setdefault(name, {})[resource] = value
    return made


@st.composite
def limits(draw: st.DrawFn) -> Document:
    """Limits of containers, pods and claims."""
    resources = ("cpu", "memory", "ephemeral-storage")
    made: Document = {}
    if draw(st.booleans()):
        made["container"] = draw(_ordered_amounts(("min", "defaultRequest", "default", "max"), resources))
    if draw(st.booleans()):
        made["pod"] = draw(_ordered_amounts(("min", "max"), resources))
    if draw(st.booleans()):
        claim = draw(_ordered_amounts(("min", "max"), ("storage",)))
        if claim:
            made["persistentVolumeClaim"] = claim
    return made


@cache
def subjects() -> st.SearchStrategy[Document]:
    """A user, a group or a ServiceAccount."""
    person = {
        "kind": st.sampled_from(("User", "Group")),
        "name": st.sampled_from(("jo", "oidc:dev", "CN=Jo Doe,O=Bank")),
    }
    account = {
        "kind": st.just("ServiceAccount"),
        "name": st.sampled_from(("deployer", "ci.bot")),
        "namespace": st.sampled_from(("ci", *NAMESPACES)),
    }
    return st.one_of(st.fixed_dictionaries(person), st.fixed_dictionaries(account))


@cache
def _namespaces(names_: tuple[str, ...]) -> st.SearchStrategy[list[Document]]:
    namespace = _fields(
        {"name": st.sampled_from(names_)},
        {
            "labels": labels(),
            "annotations": st.dictionaries(st.just("example.com/note"), st.text("ab 中\n{}", max_size=8), max_size=1),
            "adopt": st.booleans(),
            "quota": hard(),
            "limits": limits(),
        },
    )
    return st.lists(namespace, max_size=3, unique_by=lambda made: str(made["name"]))


@cache
def _sections(own: tuple[str, ...]) -> st.SearchStrategy[Document]:
    """All but the namespaces, of a tenant that declares these. Cached: making strategies costs more than drawing."""
    binding = _fields(
        {
            "role": st.sampled_from(("Viewer", "Auditor", "Operator", "Developer", "Admin")),
            "subjects": st.lists(subjects(), min_size=1, max_size=2),
        },
        {"namespaces": _some(own)} if own else {},
    )
    foreign = st.sampled_from(("Report", "Remove", "Ignore"))
    network = {
        "isolation": st.sampled_from(("Namespace", "Tenant")),
        "dns": st.booleans(),
        "apiServer": st.booleans(),
        "peersBy": st.sampled_from(("Selector", "Subnet", "Both")),
        "ingress": _rules("to", "from", own),
        "egress": _rules("from", "to", own),
        "templates": _uses(own),
        "foreign": foreign,
    }
    sections = {
        "displayName": st.text("ab 中{}", max_size=8),
        "owner": _fields({"team": st.just("platform")}, {"contact": st.just("a@bank.example")}),
        "mode": st.sampled_from(("Enforce", "Audit", "Paused")),
        "deletionPolicy": st.sampled_from(("Retain", "Delete")),
        "access": _fields({}, {"bindings": st.lists(binding, max_size=3), "foreign": foreign}),
        "network": _fields({}, network),
        "quota": _fields({}, {"tenant": hard(), "namespace": hard()}),
        "limits": limits(),
        "nodes": _fields(
            {"selector": st.fixed_dictionaries({"matchLabels": labels(1)})},
            {"effect": st.sampled_from(("NoSchedule", "NoExecute"))},
        ),
        "exposure": _fields({}, {"nodePorts": st.booleans(), "ingress": _fields({}, {"hosts": _some(_HOSTS)})}),
    }
    return _fields({}, sections)


@st.composite
def specs(draw: st.DrawFn, namespaces: Sequence[str] = NAMESPACES) -> Document:
    """A valid spec whose namespaces are of this pool; any section may be missing."""
    declared = draw(_namespaces(tuple(namespaces)))
    return {"namespaces": declared, **draw(_sections(tuple(sorted(entry["name"] for entry in declared))))}


@st.composite
def documents(draw: st.DrawFn, name: str | None = None, namespaces: Sequence[str] = NAMESPACES) -> Document:
    """A valid document, as people write it."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name or draw(st.sampled_from(TENANTS))},
        "spec": draw(specs(namespaces)),
    }


@st.composite
def secure_tenants(draw: st.DrawFn, name: str | None = None, namespaces: Sequence[str] = NAMESPACES) -> SecureTenant:
    """A valid tenant as the API server would hold it: with UID, generation and creation time."""
    document = draw(documents(name, namespaces))
    created = (_EPOCH + timedelta(days=draw(st.integers(0, 3)))).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = {**document["metadata"], "uid": f"uid-{document['metadata']['name']}", "generation": 1}
    return load({**document, "metadata": {**metadata, "creationTimestamp": created}})
