"""The scalars and maps of the spec, each with its syntax and its bounds."""

import ipaddress
import re
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from securetenant.api.constraints import RULES_KEY, EachEntry, Rule, Text, Unique, refusal
from securetenant.model import names, quantity

_LABEL: Final = "[a-z0-9]([-a-z0-9]{0,%d}[a-z0-9])?"
_NAMESPACE: Final = Text(
    _LABEL % 61, 'a DNS label: lower-case letters, digits and "-", at most 63, e.g. "payments-prod"', 63
)

_TENANT: Final = Text(_LABEL % 38, 'a DNS label: lower-case letters, digits and "-", at most 40, e.g. "payments"', 40)
TenantName = Annotated[str, _TENANT]
tenant_name_pattern: Final = f"^{_TENANT.pattern}$"
_POOL: Final = Text(_LABEL % 38, 'a DNS label: lower-case letters, digits and "-", at most 40, e.g. "prod"', 40)
PoolName = Annotated[str, _POOL]
pool_name_pattern: Final = f"^{_POOL.pattern}$"
_TEMPLATE: Final = Text(
    _LABEL % 38, 'a DNS label: lower-case letters, digits and "-", at most 40, e.g. "web-behind-ingress"', 40
)
TemplateName = Annotated[str, _TEMPLATE]
template_name_pattern: Final = f"^{_TEMPLATE.pattern}$"
ParameterName = Annotated[
    str, Text(_LABEL % 38, 'a DNS label: lower-case letters, digits and "-", at most 40, e.g. "port"', 40)
]
# With the name of the entry that uses the template, and a hyphen, it is a DNS label still.
TemplateRuleName = Annotated[
    str, Text(_LABEL % 20, 'a DNS label: lower-case letters, digits and "-", at most 22, e.g. "from-edge"', 22)
]
RuleName = Annotated[
    str, Text(_LABEL % 38, 'a DNS label: lower-case letters, digits and "-", at most 40, e.g. "from-ledger"', 40)
]
NamespaceName = Annotated[str, _NAMESPACE]
NamespaceNames = Annotated[
    list[Annotated[str, Text(_NAMESPACE.pattern, _NAMESPACE.hint, 63, deep=True)]],
    Field(min_length=1, max_length=64),
    Unique(),
]
OptionalNamespaceName = Annotated[str, Text(f"({_NAMESPACE.pattern})?", _NAMESPACE.hint, 63)]
OwnNamespaceName = Annotated[
    str,
    _NAMESPACE,
    Rule(
        " && ".join(
            [
                f"!(self in {list(names.SYSTEM_NAMESPACES)})",
                *(f"!self.startsWith('{prefix}')" for prefix in names.SYSTEM_NAMESPACE_PREFIXES),
            ]
        ),
        "this is a system namespace and can never be a tenant's: choose another name",
        lambda value: not names.is_system_namespace(value),
    ),
]

_PRINTABLE: Final = r"[^\x00-\x1f\x7f]*"
Line = Annotated[str, Text(_PRINTABLE, "one line of at most 128 characters", 128)]
Ticket = Annotated[str, Text(_PRINTABLE, "one line of at most 128 characters", 128)]
SubjectName = Annotated[
    str,
    Text(
        r"[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?",
        "the name as the identity provider gives it, on one line, at most 253 characters",
        253,
    ),
]

_NAME_PART: Final = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
# A DNS subdomain: the prefix of a label key, the name of most objects.
SUBDOMAIN: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_KEY: Final = re.compile(rf"({SUBDOMAIN}/)?{_NAME_PART}", re.ASCII)
KEY_LENGTH: Final = 253
LabelKey = Annotated[
    str,
    Text(rf"({SUBDOMAIN}/)?{_NAME_PART}", 'a label key, e.g. "app" or "example.com/app"', KEY_LENGTH, deep=True),
]
LabelValue = Annotated[
    str,
    Text(
        rf"({_NAME_PART})?",
        'a label value: letters, digits, "-", "_" and ".", at most 63, with a letter or digit at both ends',
        63,
        deep=True,
    ),
]
AnnotationValue = Annotated[str, Field(max_length=1024)]

_VALID_KEYS: Final = EachEntry(
    f"size(k) <= {KEY_LENGTH} && !format.qualifiedName().validate(k).hasValue()",
    'a key is malformed: write a label key such as "app" or "example.com/app"',
    lambda key, _: len(key) <= KEY_LENGTH and _KEY.fullmatch(key) is not None,
)
# Kubernetes itself acts on kubernetes.io and k8s.io keys (Pod Security levels, node selectors of namespaces, the name
# label that selectors rely on). app.kubernetes.io is the recommended set for users, except managed-by.
_RESERVED: Final = (
    r"([-a-z0-9.]+\.)?(securetenant\.dev|kubernetes\.io|k8s\.io)/.*|"
    # By these a network plug-in is told the subnet of a namespace.
    r"(cni\.projectcalico\.org|ipam\.cilium\.io|cni\.cilium\.io)/.*"
)
_RESERVED_KEY: Final = re.compile(_RESERVED, re.ASCII | re.DOTALL)


def is_reserved_key(key: str) -> bool:
    """Whether a label or annotation is reserved for the operator or the cluster, so that no spec can set it."""
    is_open = key.startswith("app.kubernetes.io/") and key != names.LABEL_MANAGED_BY
    return _RESERVED_KEY.fullmatch(key) is not None and not is_open


_UNRESERVED_KEYS: Final = EachEntry(
    f"""!k.matches('^({_RESERVED.replace(chr(92), chr(92) * 2)})$')
    || (k.startsWith('app.kubernetes.io/') && k != '{names.LABEL_MANAGED_BY}')""",
    "keys under securetenant.dev, kubernetes.io, k8s.io, cni.projectcalico.org, ipam.cilium.io and cni.cilium.io are "
    "reserved for the operator and the cluster (app.kubernetes.io is not, except managed-by): use a prefix of your own",
    lambda key, _: not is_reserved_key(key),
)
NamespaceLabels = Annotated[dict[str, LabelValue], Field(max_length=32), _VALID_KEYS, _UNRESERVED_KEYS]
NamespaceAnnotations = Annotated[dict[str, AnnotationValue], Field(max_length=32), _VALID_KEYS, _UNRESERVED_KEYS]
MatchLabels = Annotated[dict[str, LabelValue], Field(max_length=16), _VALID_KEYS]
# Few, so that all exemptions of a namespace fit in its annotations (256 KiB) and into the budget of a policy.
ExemptedLabels = Annotated[dict[str, LabelValue], Field(max_length=4), _VALID_KEYS]
NodeLabels = Annotated[
    dict[str, LabelValue],
    Field(min_length=1, max_length=16),
    _VALID_KEYS,
    EachEntry(
        f"k != '{names.NODE_LABEL_TENANT}'",
        "the operator itself writes this label to the selected nodes: select by a label of your own",
        lambda key, _: key != names.NODE_LABEL_TENANT,
    ),
]


# JSON has one type of number, and the API server accepts 443.0 as an integer until a rule reads it.
PortNumber = Annotated[
    int, Field(ge=1, le=65535), Rule("self >= 1", "must be a whole number, e.g. 443", lambda value: value >= 1)
]


# The sum over 64 namespaces, the maximum of a tenant, still fits in a quantity.
_MOST: Final = "100P"
_MOST_RULE: Final = Rule(
    f"!isQuantity(string(self)) || quantity(string(self)).compareTo(quantity('{_MOST}')) <= 0",
    f"out of range: must be at most {_MOST}",
    lambda value: quantity.compare(value, _MOST) <= 0,
)
_SYNTAX: Final = Text(quantity.PATTERN.strip("^$"), 'a quantity, e.g. "500m", "4" or "2Gi"', quantity.MAX_LENGTH)


class _Quantity:
    """A quantity, as a string or as a whole number; the models hold it as a string."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": quantity.MAX_LENGTH,
            RULES_KEY: [
                {"rule": _SYNTAX.cel("string(self)"), "message": f"must be {_SYNTAX.hint}"},
                _MOST_RULE.kubernetes(),
            ],
        }

    def check(self, value: Any) -> Any:
        text = str(value) if type(value) is int else value
        if isinstance(text, str):
            problem = _quantity_problem(text)
            if problem:
                raise refusal(problem)
        return text


@lru_cache(maxsize=4096)
def _quantity_problem(text: str) -> str:
    try:
        quantity.parse(text)
    except ValueError as error:
        return str(error)
    return "" if _MOST_RULE.holds(text) else _MOST_RULE.message


Quantity = Annotated[str, _Quantity()]


@lru_cache(maxsize=4096)
def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The network of a CIDR. Raises ValueError for what the API server rejects too: host bits, a missing or zero-padded
    prefix length, a netmask, a zone, an IPv4-mapped address (::ffff:10.0.0.0). Any other notation of IPv6 is accepted,
    including the last 32 bits as IPv4 (64:ff9b::10.8.0.0/112)."""
    if not _CIDR.fullmatch(text):
        raise ValueError(f'{text!r} is not a CIDR: write an address and a prefix length, e.g. "10.8.0.0/16"')
    try:
        masked = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f'{text!r} is not a CIDR: write an address and a prefix length, e.g. "10.8.0.0/16"') from None
    address = ipaddress.ip_address(text.partition("/")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError(
            f"{text!r} is an IPv4-mapped IPv6 address: write the IPv4 network, {str(address.ipv4_mapped)!r}/..."
        )
    if address != masked.network_address:
        raise ValueError(f"{text!r} has host bits set: write {str(masked)!r}")
    return masked


# The longest has eight groups of four digits, or six of them and an IPv4 address.
_CIDR_LENGTH: Final = 49
_CIDR: Final = re.compile(r"([0-9.]{7,15}|[0-9a-fA-F:]{2,39}|[0-9a-fA-F:]{2,30}[0-9.]{7,15})/(0|[1-9][0-9]{0,2})")


def _check_cidr(value: str) -> bool:
    try:
        network(value)
    except ValueError:
        return False
    return True


Cidr = Annotated[
    str,
    Field(max_length=_CIDR_LENGTH),
    Rule(
        "isCIDR(self) && cidr(self) == cidr(self).masked()",
        'not a CIDR, or host bits are set: write the network address and prefix length, e.g. "10.8.0.0/16"',
        _check_cidr,
    ),
]

_RFC3339: Final = Text(
    r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[-+]([01][0-9]|2[0-3]):[0-5][0-9])",
    'a time with a zone, e.g. "2027-03-31T00:00:00Z"',
    40,
)


class _Time:
    """RFC 3339 with a zone. A datetime (as a YAML parser returns) is accepted as it is."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "type": "string",
            "format": "date-time",
            "pattern": f"^(?:{_RFC3339.pattern})$",
            "maxLength": _RFC3339.max_length,
            # For a string with a format the API server accepts a list; CEL does not.
            RULES_KEY: [{"rule": "self > timestamp('0999-12-31T00:00:00Z')", "message": f"must be {_RFC3339.hint}"}],
        }

    def check(self, value: Any) -> Any:
        if isinstance(value, datetime):
            return value
        if not isinstance(value, str) or not _RFC3339.matches(value):
            raise refusal(f"{str(value)[:60]!r} is not a time: must be {_RFC3339.hint}")
        return value


Time = Annotated[AwareDatetime, Field(strict=False), _Time()]
