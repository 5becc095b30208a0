"""The status of a SecureTenant, which only the operator writes."""

from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator, model_validator
from pydantic.alias_generators import to_camel

_COUNT: Final = "namespaceCount"
ConditionStatus = Literal["True", "False", "Unknown"]
DriftReason = Literal["Missing", "Changed", "Foreign", "Stale"]
REASONS: tuple[DriftReason, ...] = ("Missing", "Changed", "Foreign", "Stale")


def stamp(time: datetime) -> str:
    """RFC 3339 in whole seconds, like metav1.Time."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class StatusModel(BaseModel):
    """Unknown fields are ignored: an older or a newer operator may have written the status."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Condition(StatusModel):
    """A metav1.Condition. `last_transition_time` is filled by the reporter, not by controls."""

    type: str
    status: ConditionStatus
    reason: str
    message: str = ""
    observed_generation: int | None = None
    last_transition_time: str | None = None

    @classmethod
    def of(cls, kind: str, status: ConditionStatus, reason: str, message: str = "") -> Self:
        return cls(type=kind, status=status, reason=reason, message=message)


class NamespaceStatus(StatusModel):
    name: str
    uid: str = ""
    drift: int | None = Field(None, description="How many objects in it deviate; absent while nothing is judged.")
    reserved: list[str] = Field(
        default_factory=list, description="Labels and annotations that the operator wrote and no spec can set."
    )


class PendingFlow(StatusModel):
    """A declared flow that is not open, and why."""

    direction: Literal["ingress", "egress"]
    rule: str
    peer: str
    reason: str = ""


class ExpiringRule(StatusModel):
    """A rule that ends soon. `within`: the narrowest of the operator's thresholds that it is within, e.g. "14d"."""

    direction: Literal["ingress", "egress"]
    rule: str
    expires: datetime
    within: str


class WhitelistStatus(StatusModel):
    """The declared flows (rule x peer) by state. The lists are capped at 20, the counts and `expiring` are not: it also
    records which warnings were given."""

    declared: int = 0
    agreed: int = 0
    pending_count: int = 0
    expired_count: int = 0
    pending: list[PendingFlow] = Field(default_factory=list)
    expired: list[PendingFlow] = Field(default_factory=list)
    next_expiry: datetime | None = None
    api_server: list[str] = Field(
        default_factory=list, description="The last known addresses of the API server, if there is egress to a cidr."
    )
    expiring: list[ExpiringRule] = Field(default_factory=list)


class SubnetStatus(StatusModel):
    """The subnet of a namespace: what was given, and by which network plug-in. It is never moved."""

    namespace: str = Field(max_length=63)
    cidrs: list[Annotated[str, Field(max_length=49)]] = Field(default_factory=list, max_length=2)
    pool: str = ""
    provider: str = ""

    @field_validator("cidrs")
    @classmethod
    def _readable(cls, cidrs: list[str]) -> list[str]:
        """What somebody else wrote there must not abort the passes over this tenant and its peers."""
        return [text for text in cidrs if _is_cidr(text)]


def _is_cidr(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


class ExemptionStatus(StatusModel):
    """An exemption as it is declared. `pods`: the labels of the pods that it is for, "app=web,tier=x"."""

    control: str
    check: str
    namespace: str
    pods: str = ""
    expires: datetime | None = None
    reason: str = ""
    ticket: str = ""
    approved_by: str = ""
    ended: bool = False


class ExpiringExemption(StatusModel):
    """An exemption that ends soon. `check`: the ID; `within`: as in ExpiringRule."""

    check: str
    namespace: str
    pods: str = ""
    expires: datetime
    within: str


class ExemptionsStatus(StatusModel):
    """The declared exemptions. `items` is capped at 20, those that have ended last; the counts are whole. `expiring`
    is whole: it also tells which warnings were given."""

    active: int = 0
    by_control: dict[str, int] = Field(default_factory=dict)
    ended: int = Field(0, description="How many have ended and still stand in the spec.")
    next_expiry: datetime | None = None
    items: list[ExemptionStatus] = Field(default_factory=list)
    expiring: list[ExpiringExemption] = Field(default_factory=list)


class DriftItem(StatusModel):
    control: str
    kind: str
    namespace: str = ""
    name: str
    reason: DriftReason
    path: str = ""
    manager: str = ""


class DriftStatus(StatusModel):
    """`total` is None while nothing is judged: 0 would mean that there is no drift."""

    total: int | None = Field(None, description="How many objects deviate; absent while nothing is judged.")
    by_control: dict[str, int] = Field(default_factory=dict)
    items: list[DriftItem] = Field(default_factory=list)
    unlisted: str = Field(
        "",
        description="Digests (4 bytes each, base64) of known deviations that are not in items: a restarted operator "
        "counts and reports none of them anew.",
    )
    last_detected: str | None = None
    last_corrected: str | None = None


class IntruderStatus(StatusModel):
    """A pod on a dedicated node that is not the tenant's. `controller`: what made it, as "StatefulSet/db"; "" for a pod
    by itself."""

    node: str
    namespace: str
    pod: str
    controller: str = ""


class PostureItem(StatusModel):
    """A running object that breaks a check. `place`: where in it, as "container web"."""

    control: str
    check: str
    kind: str
    namespace: str
    name: str
    place: str = ""


class NamespacePosture(StatusModel):
    """The outcome of each check in one namespace: `passed` counts those that are in no list. Checks are named by ID, as
    "runtime/privileged"."""

    name: str
    judged: str | None = Field(None, description="When it was judged last; absent if it was not yet.")
    rules: str = Field("", description="A digest of what it was judged by.")
    objects: int = Field(0, description="How many objects were judged.")
    findings: int = Field(0, description="How many times an object breaks a check without exemption.")
    passed: int = Field(0, description="How many checks every object keeps.")
    failed: list[str] = Field(default_factory=list, description="The checks that an object breaks.")
    exempted: list[str] = Field(
        default_factory=list, description="The checks that are broken only where an exemption allows it."
    )
    unknown: list[str] = Field(
        default_factory=list, description="The checks that could not be evaluated for some object, and that none fails."
    )
    unjudged: list[str] = Field(
        default_factory=list, description="What could not be judged at all, such as pods: its checks are unknown."
    )
    subnets: list[str] = Field(default_factory=list, description="Where its pods' addresses must lie.")
    outside: int = Field(0, description="How many pods have an address outside of them.")
    message: str = Field("", description="Why something is unknown, and what must be restarted.")


class PostureStatus(StatusModel):
    """What the inspection found in what runs. Counted are checks, each in each namespace; the lists and counts of the
    namespaces are whole, `items` is capped at 20."""

    passed: int = Field(0, description="How many checks are kept.")
    failed: int = Field(0, description="How many checks are broken.")
    unknown: int = Field(0, description="How many checks could not be judged, or not yet.")
    exempted: int = Field(0, description="How many checks are broken only where an exemption allows it.")
    judged: str | None = Field(
        None, description="Since when every namespace has been judged: the oldest time; absent if one was not yet."
    )
    findings: int = Field(0, description="How many times an object breaks a check without exemption.")
    items: list[PostureItem] = Field(default_factory=list)
    namespaces: list[NamespacePosture] = Field(default_factory=list)


class FlowDifference(StatusModel):
    """Traffic of the pods of a namespace that is open and not declared, or declared and closed. `peer`: as the policy
    names it; `policy`: which one causes it, as "NetworkPolicy/web"; empty where no policy closes the namespace."""

    direction: Literal["ingress", "egress"]
    namespace: str
    peer: str
    ports: str
    policy: str = ""


class ReachabilityStatus(StatusModel):
    """Where what is really open differs from what is declared. The lists are capped at 20, the counts are not."""

    unexpected_count: int = Field(0, description="How many flows are open and not declared.")
    blocked_count: int = Field(0, description="How many flows are declared and agreed, and closed.")
    unexpected: list[FlowDifference] = Field(default_factory=list)
    blocked: list[FlowDifference] = Field(default_factory=list)


class SecureTenantStatus(StatusModel):
    """`applied` is the tenant's own record of what it wrote, by namespace ("" for cluster-scoped objects),
    each as "Kind/name": it tells a deleted object (drift) from one not yet created (a rollout)."""

    # Each control's part is in its own fields, by the names in `Plan.status`. A field that is not declared here keeps
    # the value it was given, or its JSON when read back.
    model_config = ConfigDict(extra="allow")

    observed_generation: int | None = Field(None, description="The generation of the spec that this status is about.")
    mode: str = Field("", description="The mode of the last pass.")
    conditions: list[Condition] = Field(default_factory=list, description="The conditions of the tenant.")
    namespaces: list[NamespaceStatus] = Field(
        default_factory=list,
        description="The declared namespaces, and those still being released; uid: set once the tenant held it.",
    )
    used_commitments: list[str] = Field(
        default_factory=list, description="Digests in the annotation securetenant.dev/creating that are used up."
    )
    whitelist: WhitelistStatus | None = Field(None, description="The declared flows, by state.")
    reachability: ReachabilityStatus | None = Field(
        None, description="Where what is open differs from what is declared; absent while it does not."
    )
    nodes: list[str] = Field(default_factory=list, description="The nodes that are dedicated to this tenant.")
    intruders: list[IntruderStatus] = Field(
        default_factory=list, description="Pods of others on these nodes, at most 20 of them."
    )
    intruder_count: int = Field(0, description="How many pods of others are on these nodes.")
    subnets: list[SubnetStatus] = Field(
        default_factory=list,
        max_length=64,
        description="The subnets that were given to namespaces; none is ever moved.",
    )
    exemptions: ExemptionsStatus | None = Field(None, description="The declared exemptions; absent if there are none.")
    drift: DriftStatus = Field(default_factory=DriftStatus, description="The objects that deviate from the posture.")
    posture: PostureStatus | None = Field(
        None, description="What the checks found in what runs; absent while nothing is judged."
    )
    applied: dict[str, list[str]] = Field(
        default_factory=dict, description="The objects that were written, by namespace, as Kind/name."
    )

    @computed_field(description="How many namespaces stand below.")  # type: ignore[prop-decorator]
    @property
    def namespace_count(self) -> int:
        """For the printer column: JSONPath cannot count."""
        return len(self.namespaces)

    @model_validator(mode="before")
    @classmethod
    def _without_the_count(cls, given: object) -> object:
        """Drop the computed count when the status is read back, or it would count as a control's field."""
        return {key: value for key, value in given.items() if key != _COUNT} if isinstance(given, Mapping) else given
