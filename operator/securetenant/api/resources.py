"""Quota and limits of the spec: maps from a resource to a quantity."""

import re
from collections.abc import Callable
from typing import Annotated, ClassVar, Final

from pydantic import Field

from securetenant.api.constraints import EachEntry, Rule, SpecModel
from securetenant.api.types import Quantity
from securetenant.model import quantity

# What ResourceQuota and LimitRange accept as names (k8s.io/kubernetes pkg/apis/core/validation and helper), a little
# narrower: hugepages need a size, and a pod's or container's limits no "requests." prefix.
_HUGEPAGES: Final = r"hugepages-[1-9][0-9]{0,9}(Ki|Mi|Gi)?"
_QUALIFIED: Final = (
    r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_COUNTED: Final = (
    "pods|resourcequotas|services|replicationcontrollers|secrets|configmaps|persistentvolumeclaims|"
    r"services\.nodeports|services\.loadbalancers"
)
_QUOTA_KEY: Final = (
    rf"{_COUNTED}|((requests|limits)\.)?(cpu|memory|ephemeral-storage)|requests\.storage|"
    rf"(requests\.)?{_HUGEPAGES}|{_QUALIFIED}"
)
# ResourceQuota accepts any name with a "/", but counts only these (k8s.io/kubernetes pkg/quota/v1): objects by kind,
# without a group for the core API (whose other kinds are cluster-scoped, or Events); extended resources as
# "requests.NAME"; and requests of a storage class or a device class. "limits.NAME" is never counted.
_CORE: Final = (
    "configmaps|endpoints|limitranges|persistentvolumeclaims|pods|podtemplates|replicationcontrollers|resourcequotas|"
    "secrets|serviceaccounts|services"
)
_KNOWN: Final = (
    rf"count/({_CORE}|[^./]+\.[^/]+)|"
    r"[^/]+\.storageclass\.storage\.k8s\.io/(requests\.storage|persistentvolumeclaims)|"
    r"[^/]+\.deviceclass\.resource\.k8s\.io/devices|requests\.deviceclass\.resource\.kubernetes\.io/.*"
)
_EXTENDED: Final = r"requests\.[^/]+/.*"
_NOT_EXTENDED: Final = r"requests\.requests\..*|[^/]*kubernetes\.io/.*"
_EVENTS: Final = "count/events.events.k8s.io"
_LIMIT_KEY: Final = rf"cpu|memory|ephemeral-storage|{_HUGEPAGES}|{_QUALIFIED}"
# ResourceQuota accepts only whole numbers for these: object counts, including count/*, and extended resources.
_WHOLE_KEY: Final = rf"{_COUNTED}|{_QUALIFIED}"
_NOT_WHOLE_KEY: Final = r"requests\..*|.*kubernetes\.io/.*"
# Extended resources and huge pages cannot be overcommitted.
_WHOLE: Final = r"[0-9]+([kMGTPE]|[KMGTPE]i|[eE][0-9]{1,2})?"
_EXACT_KEY: Final = rf"{_HUGEPAGES}|{_QUALIFIED}"
_KEY_LENGTH: Final = 200


def _matcher(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII | re.DOTALL)
    return lambda text: compiled.fullmatch(text) is not None


def _matches(variable: str, pattern: str) -> str:
    """The same check as a CEL expression."""
    return f"{variable}.matches('^({pattern})$')".replace("\\", "\\\\")


_is_quota_key: Final = _matcher(_QUOTA_KEY)
_is_known: Final = _matcher(_KNOWN)
_is_extended: Final = _matcher(_EXTENDED)
_is_not_extended: Final = _matcher(_NOT_EXTENDED)
_is_limit_key: Final = _matcher(_LIMIT_KEY)
_is_whole_key: Final = _matcher(_WHOLE_KEY)
_is_not_whole_key: Final = _matcher(_NOT_WHOLE_KEY)
_is_whole: Final = _matcher(_WHOLE)
_is_exact_key: Final = _matcher(_EXACT_KEY)


def is_countable(resource: str) -> bool:
    """Whether Kubernetes may count this resource, judged by its name alone: whether such a kind exists
    (count/widgets.example.com) depends on the cluster."""
    if "/" not in resource:
        return True
    return resource != _EVENTS and (_is_known(resource) or (_is_extended(resource) and not _is_not_extended(resource)))


def _is_whole_where_counted(key: str, value: str) -> bool:
    return _is_whole(value) or not _is_whole_key(key) or _is_not_whole_key(key)


Hard = Annotated[
    dict[str, Quantity],
    Field(max_length=32),
    EachEntry(
        f"size(k) <= {_KEY_LENGTH} && {_matches('k', _QUOTA_KEY)}",
        'not a resource of a ResourceQuota: write one such as "requests.cpu", "limits.memory", "pods", '
        '"count/deployments.apps" or "requests.nvidia.com/gpu"',
        lambda key, _: len(key) <= _KEY_LENGTH and _is_quota_key(key),
    ),
    EachEntry(
        f"""!k.contains('/') || (k != '{_EVENTS}' && ({_matches("k", _KNOWN)} ||
        ({_matches("k", _EXTENDED)} && !{_matches("k", _NOT_EXTENDED)})))""",
        'Kubernetes never counts this: write an extended resource as "requests.nvidia.com/gpu" (neither '
        '"nvidia.com/gpu" nor "limits.nvidia.com/gpu"), and a kind with its group, e.g. "count/deployments.apps"',
        lambda key, _: is_countable(key),
    ),
    EachEntry(
        f"""!{_matches("k", _WHOLE_KEY)} || {_matches("k", _NOT_WHOLE_KEY)} ||
        {_matches("string(self[k])", _WHOLE)}""",
        'object counts and extended resources must be a whole number, e.g. "20"',
        _is_whole_where_counted,
    ),
]

_Amounts = Annotated[
    dict[str, Quantity],
    Field(max_length=16),
    EachEntry(
        f"size(k) <= {_KEY_LENGTH} && ({_matches('k', _LIMIT_KEY)} || k == 'storage') && !k.startsWith('requests.')",
        'not a resource of a LimitRange: write one such as "cpu", "memory", "ephemeral-storage" or "nvidia.com/gpu" '
        '("storage" for persistentVolumeClaim)',
        lambda key, _: (
            len(key) <= _KEY_LENGTH and (_is_limit_key(key) or key == "storage") and not key.startswith("requests.")
        ),
    ),
]


def _ordered(low: str, high: str) -> Rule:
    """`low` <= `high` for each resource that is in both."""

    def holds(limits: "ObjectLimits") -> bool:
        lows: dict[str, str] = getattr(limits, _FIELDS[low])
        highs: dict[str, str] = getattr(limits, _FIELDS[high])
        return all(quantity.compare(value, highs[key]) <= 0 for key, value in lows.items() if key in highs)

    return Rule(
        f"""!has(self.{low}) || !has(self.{high}) || self.{low}.all(k, !(k in self.{high}) ||
        quantity(string(self.{low}[k])).compareTo(quantity(string(self.{high}[k]))) <= 0)""",
        f"{low} is more than {high}: the order is min <= defaultRequest <= default <= max for each resource",
        holds,
        field=low,
        inputs=(low, high),
    )


_FIELDS: Final = {"default": "default", "defaultRequest": "default_request", "max": "max", "min": "min"}


def _ratio_is_reachable(limits: "ObjectLimits") -> bool:
    """With a tolerance, like the CEL side, which has only floating point."""
    ratios = limits.max_limit_request_ratio
    return all(quantity.compare(ratio, "1") >= 0 for ratio in ratios.values()) and all(
        (quantity.nanos(ratio) / 1e9) * (quantity.nanos(limits.min[key]) / 1e9)
        <= (quantity.nanos(limits.max[key]) / 1e9) * 1.000001
        for key, ratio in ratios.items()
        if key in limits.min and key in limits.max
    )


def _is_exact_where_it_must(limits: "ObjectLimits") -> bool:
    """LimitRange defaults `default` to `max`, and then requires `default` == `defaultRequest`."""
    filled = {**limits.max, **limits.default}
    return all(
        quantity.compare(value, filled[key]) == 0
        for key, value in limits.default_request.items()
        if key in filled and _is_exact_key(key) and "kubernetes.io/" not in key
    )


_LIMIT_RULES: Final = (
    _ordered("min", "max"),
    _ordered("min", "default"),
    _ordered("min", "defaultRequest"),
    _ordered("defaultRequest", "default"),
    _ordered("defaultRequest", "max"),
    _ordered("default", "max"),
    Rule(
        """!has(self.maxLimitRequestRatio) || self.maxLimitRequestRatio.all(k,
        !quantity(string(self.maxLimitRequestRatio[k])).isLessThan(quantity('1')) && (
        !has(self.min) || !has(self.max) || !(k in self.min) || !(k in self.max) ||
        quantity(string(self.maxLimitRequestRatio[k])).asApproximateFloat() *
        quantity(string(self.min[k])).asApproximateFloat() <=
        quantity(string(self.max[k])).asApproximateFloat() * 1.000001))""",
        "a ratio is less than 1, or more than max / min allows: raise or lower it",
        _ratio_is_reachable,
        field="maxLimitRequestRatio",
        inputs=("maxLimitRequestRatio", "min", "max"),
    ),
    Rule(
        f"""!has(self.defaultRequest) || self.defaultRequest.all(k,
        !{_matches("k", _EXACT_KEY)} || k.contains('kubernetes.io/') ||
        (has(self.default) && k in self.default
        ? quantity(string(self.default[k])).compareTo(quantity(string(self.defaultRequest[k]))) == 0
        : !has(self.max) || !(k in self.max) ||
        quantity(string(self.max[k])).compareTo(quantity(string(self.defaultRequest[k]))) == 0))""",
        "huge pages and extended resources cannot be overcommitted: defaultRequest must equal default (or max)",
        _is_exact_where_it_must,
        field="defaultRequest",
        inputs=("defaultRequest", "default", "max"),
    ),
)


class ObjectLimits(SpecModel):
    """LimitRange values of one type (container, pod, persistentVolumeClaim); resource -> quantity."""

    default: _Amounts = Field(default_factory=dict, description="The limit of a container that sets none; not for pod.")
    default_request: _Amounts = Field(
        default_factory=dict, description="The request of a container that sets none; not for pod."
    )
    max: _Amounts = Field(default_factory=dict, description="The maximum for one object.")
    min: _Amounts = Field(default_factory=dict, description="The minimum for one object.")
    max_limit_request_ratio: _Amounts = Field(
        default_factory=dict, description="The maximum ratio of limit to request; at least 1."
    )

    RULES: ClassVar[tuple[Rule, ...]] = _LIMIT_RULES


_AMOUNTS: Final = ("default", "defaultRequest", "max", "min", "maxLimitRequestRatio")


def _amounts(limits: ObjectLimits) -> tuple[dict[str, str], ...]:
    return limits.default, limits.default_request, limits.max, limits.min, limits.max_limit_request_ratio


_STORAGE_ONLY: Final = Rule(
    " && ".join(f"(!has(self.{name}) || self.{name}.all(k, k == 'storage'))" for name in _AMOUNTS),
    'a PersistentVolumeClaim has only one resource: write "storage"',
    lambda limits: all(key == "storage" for amounts in _amounts(limits) for key in amounts),
)
_STORAGE_BOUND: Final = Rule(
    "(has(self.min) && 'storage' in self.min) || (has(self.max) && 'storage' in self.max)",
    "a LimitRange for claims needs min or max: set one of them for storage",
    lambda limits: "storage" in limits.min or "storage" in limits.max,
    inputs=("min", "max"),
)
_NO_STORAGE: Final = Rule(
    " && ".join(f"(!has(self.{name}) || !('storage' in self.{name}))" for name in _AMOUNTS),
    'storage can be limited for claims only: move it to "persistentVolumeClaim"',
    lambda limits: not any("storage" in amounts for amounts in _amounts(limits)),
)
_NO_DEFAULTS: Final = Rule(
    """(!has(self.default) || size(self.default) == 0) &&
    (!has(self.defaultRequest) || size(self.defaultRequest) == 0)""",
    'a pod has no defaults of its own: move default and defaultRequest to "container"',
    lambda limits: not limits.default and not limits.default_request,
    inputs=("default", "defaultRequest"),
)


class Limits(SpecModel):
    """What one container, pod or claim may request: a LimitRange in each namespace."""

    container: Annotated[ObjectLimits, _NO_STORAGE] | None = Field(None, description="Limits of each container.")
    pod: Annotated[ObjectLimits, _NO_STORAGE, _NO_DEFAULTS] | None = Field(
        None, description="Limits of each pod, the sum over its containers."
    )
    persistent_volume_claim: Annotated[ObjectLimits, _STORAGE_ONLY, _STORAGE_BOUND] | None = Field(
        None, description="Limits of each PersistentVolumeClaim."
    )


class Quota(SpecModel):
    """How much the tenant may use."""

    tenant: Hard = Field(
        default_factory=dict, description="The total over all the tenant's namespaces, never exceeded at any time."
    )
    namespace: Hard = Field(default_factory=dict, description="What each of the tenant's namespaces may use.")
