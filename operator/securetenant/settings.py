"""All settings of the operator, typed: environment variables, overridden by flags.

A variable is `SECURETENANT_` and the field's name in capitals; `securetenant run` has a flag of the same name.
(In a pod, set `enableServiceLinks: false`: a Service named `securetenant-http` would otherwise give the process a
variable SECURETENANT_HTTP_PORT of its own.)
"""

import json
import os
import re
import secrets
import socket
from ipaddress import ip_network
from typing import Annotated, Any, Final, Literal, get_args

from annotated_types import Ge, Le
from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from securetenant.model import names
from securetenant.model.platform import Platform

PREFIX: Final = "SECURETENANT_"
LEASE_DURATION_MAX: Final = 300  # seconds

# Of each node: its DNS cache and, in most clouds, the metadata of the machine with credentials (RFC 3927, RFC 4291).
# The last one is that of AWS over IPv6, which is not link-local.
NODE_LOCAL: Final = ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128")

Inspection = Literal["Continuous", "OnChange"]

_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DURATION: Final = re.compile(r"([0-9]{1,8})([dhms]?)")
_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1, "": 1}
_LONGEST: Final = 366 * 86_400
_LABEL_PREFIX: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _inspection(value: Any) -> Any:
    """In any case."""
    return next((one for one in get_args(Inspection) if one.lower() == _lower(value)), value)


def _pairs(value: Any) -> Any:
    """A dict from `{"k": "v"}` or `k=v,k=v`; anything else is left for the model to refuse."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return _json(value)
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        key, equals, text = part.partition("=")
        if not equals:
            raise ValueError(f"must be labels as k=v,k=v or as a JSON object; {part!r} has no '='")
        pairs[key.strip()] = text.strip()
    return pairs


def _items(value: Any) -> Any:
    """A list from `["a", "b"]` or `a,b`."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _json(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _durations(value: Any) -> Any:
    """Whole seconds from `14d,1d`, `["12h"]` or `3600`."""
    spans = _items(value)
    return [_seconds(span) for span in spans] if isinstance(spans, list | tuple) else spans


def _seconds(text: Any) -> int:
    found = _DURATION.fullmatch(str(text))
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 1 <= seconds <= _LONGEST:
        raise ValueError(
            f"must be spans of 1s to 366d such as 14d, 12h, 30m or 90s, separated by commas; {text!r} is none"
        )
    return seconds


def _json(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"must be well-formed JSON: {error}") from error


def _identity() -> str:
    """The identity of this instance for the Lease: unique, also among restarts of the same pod."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{secrets.token_hex(4)}"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    kubeconfig: str | None = Field(
        None, description="Path of the kubeconfig; if not set: KUBECONFIG, the pod's ServiceAccount, ~/.kube/config."
    )
    context: str | None = Field(None, description="Context of the kubeconfig; if not set: its current one.")
    http_host: str = Field(
        "0.0.0.0",  # noqa: S104  a pod's probes and scrapes come from outside
        min_length=1,
        description="Address on which metrics and probes are served.",
    )
    http_port: int = Field(8080, ge=0, le=65535, description="Port of metrics and probes; 0 takes a free one.")
    operator_namespace: str = Field(
        names.OPERATOR_NAMESPACE, description="Namespace of the operator and its Lease; never a tenant's."
    )
    identity: str = Field(
        default_factory=_identity,
        min_length=1,
        max_length=253,
        description="Unique name of this instance in the Lease; if not set: the pod's name and a random part.",
    )
    lease_duration: float = Field(
        15.0,
        ge=1,
        le=LEASE_DURATION_MAX,
        description="Seconds after which a standby takes over from an instance that stopped renewing the Lease.",
    )
    workers: int = Field(16, ge=1, le=256, description="Tenants that are reconciled at the same time.")
    requests_in_flight: int = Field(16, ge=1, le=512, description="Requests to the API server at the same time.")
    resync_seconds: float = Field(
        600.0, ge=1, le=86_400, description="Seconds after which every tenant is reconciled again without an event."
    )
    log_format: Annotated[Literal["json", "console", "auto"], BeforeValidator(_lower)] = Field(
        "auto", description="Format of the logs; auto: console on a terminal, otherwise json."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        "info", description="Lowest level that is logged."
    )
    revision: str = Field("", max_length=64, description="Source revision of the build, for securetenant_build_info.")
    dns_namespace: str = Field("kube-system", description="Namespace of the cluster's DNS pods.")
    dns_pod_labels: Annotated[dict[str, str], NoDecode, BeforeValidator(_pairs)] = Field(
        {"k8s-app": "kube-dns"}, min_length=1, description="Labels of the cluster's DNS pods: k=v,k=v or a JSON object."
    )
    dns_cidrs: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_items)] = Field(
        (),
        description="Addresses of DNS servers that no pod selector matches (NodeLocal DNSCache, host network): CIDRs.",
    )
    dns_port: int = Field(53, ge=1, le=65535, description="Port of the cluster's DNS pods (OpenShift: 5353).")

    cluster_cidrs: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_items)] = Field(
        (),
        description="Addresses of the cluster itself that no object in it names, never given to a tenant: CIDRs.",
    )
    ingress_node_cidrs: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_items)] = Field(
        (),
        description="Addresses of nodes that an ingress rule may open by cidr (load balancers, ingress controllers on "
        "the host network): CIDRs.",
    )
    admin_tier: bool = Field(
        False,
        description="Whether whitelists are written as ClusterNetworkPolicies of the Admin tier as well, which no "
        "NetworkPolicy widens (manifests/components/admin-tier).",
    )
    admin_tier_priority: int = Field(
        1000,
        ge=1,
        le=1000,
        description="Priority of these policies, 1 to 1000; the one before it is used too. What others wrote into the "
        "Admin tier with higher numbers does not hold for what tenants agreed. With Kube-OVN: distinct ones up to 399.",
    )
    subnet_release_delay: int = Field(
        600,
        ge=0,
        le=366 * 86400,
        description="Seconds for which the addresses of a deleted namespace are given to nobody else.",
    )
    daemonset_namespaces: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_items)] = Field(
        ("kube-system",),
        description="Namespaces, beside the operator's, whose DaemonSets may run on dedicated nodes: a,b.",
    )

    expires_soon: Annotated[tuple[int, ...], NoDecode, BeforeValidator(_durations)] = Field(
        ("14d", "1d"),
        validate_default=True,
        description="How long before a rule or an exemption ends its owners are warned: spans such as 14d,1d, or [] "
        "for never.",
    )
    exemption_longest: Annotated[int, BeforeValidator(_seconds)] = Field(
        "90d",
        validate_default=True,
        description="How far ahead an exemption may end before `securetenant validate` warns of it: a span such as "
        "90d.",
    )

    inspection: Annotated[Inspection, BeforeValidator(_inspection)] = Field(
        "Continuous",
        description="When what runs in tenants' namespaces is judged: OnChange, whenever a tenant's rules change; "
        "Continuous: then, and again after each interval.",
    )
    inspection_seconds: float = Field(
        3_600.0, ge=60, le=604_800, description="Seconds after which a tenant is inspected again, if Continuous."
    )

    @field_validator("operator_namespace", "dns_namespace")
    @classmethod
    def _namespace(cls, value: str) -> str:
        if not _DNS_LABEL.fullmatch(value):
            raise ValueError("must be a namespace's name: at most 63 of a-z, 0-9 and '-', not '-' at an end")
        return value

    @field_validator("daemonset_namespaces")
    @classmethod
    def _namespaces(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(cls._namespace(name) for name in value)

    @field_validator("dns_pod_labels")
    @classmethod
    def _labels(cls, value: dict[str, str]) -> dict[str, str]:
        for key, text in value.items():
            prefix, slash, name = key.rpartition("/")
            if not _LABEL_NAME.fullmatch(name) or (slash and not _LABEL_PREFIX.fullmatch(prefix)):
                raise ValueError(f"must have label keys such as k8s-app or example.com/app; {key!r} is none")
            if text and not _LABEL_NAME.fullmatch(text):
                raise ValueError(
                    f"must have label values of at most 63 of A-Z, a-z, 0-9, '-', '_', '.'; {text!r} is none"
                )
        return value

    @field_validator("dns_cidrs", "cluster_cidrs", "ingress_node_cidrs")
    @classmethod
    def _cidrs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_cidr(text) for text in value)

    @classmethod
    def load(cls, **overrides: Any) -> "Settings":
        """The settings from the environment; `overrides` (flags) take precedence unless they are None.

        Raises ValueError with one line per bad value: the variable or the flag, what it must be, what it is, and its
        meaning.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            lines = [_complaint(detail, given) for detail in error.errors(include_url=False)]
            raise ValueError("\n".join(lines)) from None

    def platform(self) -> Platform:
        """What the controls need to know about the cluster."""
        return Platform(
            dns_namespace=self.dns_namespace,
            dns_pod_labels=tuple(sorted(self.dns_pod_labels.items())),
            dns_cidrs=self.dns_cidrs,
            dns_port=self.dns_port,
            cluster_cidrs=(*NODE_LOCAL, *self.cluster_cidrs),
            ingress_node_cidrs=self.ingress_node_cidrs,
            admin_tier=self.admin_tier,
            admin_tier_priority=self.admin_tier_priority,
            subnet_release_delay=self.subnet_release_delay,
            operator_namespace=self.operator_namespace,
            daemonset_namespaces=self.daemonset_namespaces,
            expires_soon=self.expires_soon,
            exemption_longest=self.exemption_longest,
        )


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def flag(field: str) -> str:
    """The flag of a field."""
    return "--" + field.replace("_", "-")


def _cidr(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ValueError(f"must be CIDRs such as 169.254.20.10/32, separated by commas: {error}") from error


def _complaint(detail: Any, given: dict[str, Any]) -> str:
    """One line for one bad value."""
    name = str(detail["loc"][0])
    info = Settings.model_fields.get(name)
    if info is None:
        return f"{flag(name)}: there is no such setting"
    said = re.sub(r"^\w+ should", "must", detail["msg"].removeprefix("Value error, "))
    rule = _range(info) or said
    where = flag(name) if name in given else variable(name)
    return f"{where}: {rule}; it is {detail['input']!r}. {info.description}"


def _range(info: FieldInfo) -> str | None:
    """The full range of a number: pydantic's message only names the bound that was exceeded."""
    least = next((bound.ge for bound in info.metadata if isinstance(bound, Ge)), None)
    most = next((bound.le for bound in info.metadata if isinstance(bound, Le)), None)
    if least is None or most is None:
        return None
    return f"must be a {'whole number' if info.annotation is int else 'number'} from {least} to {most}"
