"""The status of a SecureTenant: what was found, as the operator writes it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator
from pydantic.alias_generators import to_camel

_COUNT: Final = "namespaceCount"
ConditionStatus = Literal["True", "False", "Unknown"]
DriftReason = Literal["Missing", "Changed", "Foreign", "Stale"]
REASONS: tuple[DriftReason, ...] = ("Missing", "Changed", "Foreign", "Stale")


class StatusModel(BaseModel):
    """Lenient on reading: an older or a newer operator may have written the status."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Condition(StatusModel):
    """A metav1.Condition. `last_transition_time` is filled by the reporter, not by controls."""

    type: str
    status: ConditionStatus
    reason: str
    message: str = ""
    observed_generation: int | None = None
    last_transition_time: str | None = None


class NamespaceStatus(StatusModel):
    name: str
    uid: str = ""
    drift: int | None = Field(None, description="How many objects deviate there; absent while nothing is judged.")
    reserved: list[str] = Field(
        default_factory=list, description="Labels and annotations that no spec can set, and the operator wrote."
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
    """The declared flows (rule x peer) by state. Lists are capped at 20; the counts are whole. `expiring` is whole:
    it also tells which warnings were given."""

    declared: int = 0
    agreed: int = 0
    pending_count: int = 0
    expired_count: int = 0
    pending: list[PendingFlow] = Field(default_factory=list)
    expired: list[PendingFlow] = Field(default_factory=list)
    next_expiry: datetime | None = None
    api_server: list[str] = Field(
        default_factory=list, description="The API server's addresses as last known, if there is egress to addresses."
    )
    expiring: list[ExpiringRule] = Field(default_factory=list)


class DriftItem(StatusModel):
    control: str
    kind: str
    namespace: str = ""
    name: str
    reason: DriftReason
    path: str = ""
    manager: str = ""


class DriftStatus(StatusModel):
    """`total` is None while nothing is judged: no number may pass for "none"."""

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


class SecureTenantStatus(StatusModel):
    """`applied` is the tenant's own record of what it wrote, by namespace ("" for cluster-scoped objects),
    each as "Kind/name": it tells a deleted object (drift) from one that was never there (a rollout)."""

    # What controls say stands in fields of their own, by the names in `Plan.status`. One that is not declared here
    # stands as it was given; where it was read, as JSON.
    model_config = ConfigDict(extra="allow")

    observed_generation: int | None = Field(None, description="The generation of the spec that this speaks of.")
    mode: str = Field("", description="The mode in which it was looked at.")
    conditions: list[Condition] = Field(default_factory=list, description="What holds of the tenant, by aspect.")
    namespaces: list[NamespaceStatus] = Field(
        default_factory=list,
        description="The namespaces that it declares, and those that it still lets go; uid: held, now or before.",
    )
    used_commitments: list[str] = Field(
        default_factory=list, description="What of the annotation securetenant.dev/creating counts no more."
    )
    whitelist: WhitelistStatus | None = Field(None, description="The declared flows, by state.")
    nodes: list[str] = Field(default_factory=list, description="The nodes that serve this tenant alone.")
    intruders: list[IntruderStatus] = Field(
        default_factory=list, description="Pods of others on these nodes, at most 20 of them."
    )
    intruder_count: int = Field(0, description="How many pods of others are on these nodes.")
    drift: DriftStatus = Field(default_factory=DriftStatus, description="What is not as it must be.")
    applied: dict[str, list[str]] = Field(
        default_factory=dict, description="What was written, by namespace, as Kind/name."
    )

    @computed_field(description="How many namespaces stand below.")  # type: ignore[prop-decorator]
    @property
    def namespace_count(self) -> int:
        """For the printer column: JSONPath cannot count."""
        return len(self.namespaces)

    @model_validator(mode="before")
    @classmethod
    def _without_the_count(cls, given: object) -> object:
        """What is computed is no field of a control, where it is read back."""
        return {key: value for key, value in given.items() if key != _COUNT} if isinstance(given, Mapping) else given
