"""Whether the policies and bindings in the cluster are those that ship with this version. Pure.

The operator may read them and never writes them: whoever can write policies can also switch them off, and so must not
be an account whose token lies in a pod.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from securetenant import __version__
from securetenant.checks import accounts
from securetenant.controls.admission.shipped import KINDS, Shipped, canonical, is_applied
from securetenant.controls.control import ClusterWide, Deviation
from securetenant.controls.world import World
from securetenant.model.difference import differences
from securetenant.model.kinds import VALIDATING_POLICY
from securetenant.model.objects import Observed

CURE: Final = f"apply manifests/ of version {__version__} (kubectl apply -k manifests, or your overlay of it)"
_TYPES: Final = ("status", "typeChecking")
_LEFT: Final = "its rules are not enforced"


class _Same:
    """An object by identity, as the key of a memo: each pass over a tenant compares the same few objects, some of
    them with 40 KB."""

    __slots__ = ("observed",)

    def __init__(self, observed: Observed) -> None:
        self.observed = observed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.observed is other.observed

    def __hash__(self) -> int:
        return id(self.observed)


class Comparison:
    """The shipped documents, compared with what stands."""

    def __init__(self, shipped: Sequence[Shipped]) -> None:
        self._shipped = shipped
        self._difference = lru_cache(maxsize=256)(self._compared)

    def differences(self, world: World) -> Iterator[tuple[Shipped, Observed | None, str]]:
        """What is missing (None) or differs, with the first field that does. What is not served is left out, and a
        component of which nothing is applied."""
        for number, one in enumerate(self._shipped):
            if not world.serves(one.ref.kind) or not is_applied(one, self._shipped, world):
                continue
            observed = world.get(one.ref)
            if observed is None:
                yield one, None, ""
            elif path := self._difference(number, _Same(observed)):
                yield one, observed, path

    def _compared(self, number: int, same: _Same) -> str:
        one, observed = self._shipped[number], same.observed
        spec: Any = observed.field("spec") or {}
        if one.is_policy:
            named = {"metadata": {"annotations": observed.annotations}, "spec": spec}
            spec = accounts.with_defaults(named)["spec"]
        return next((each.path for each in differences(one.spec, canonical(one.ref.kind, spec), "spec")), "")

    def is_alike(self, left: Observed, right: Observed) -> bool:
        """Whether a change of one of them changes nothing that is judged."""
        return all(left.at(path) == right.at(path) for path in (("spec",), _TYPES)) and (
            left.annotations == right.annotations
        )

    def deviations(self, world: World) -> list[Deviation]:
        """The same as deviations of the cluster, in a fixed order."""
        return sorted((_deviation(*each) for each in self.differences(world)), key=lambda each: each.ref)

    def cluster(self) -> ClusterWide:
        return ClusterWide(self.deviations, lambda observed: observed.ref.kind in KINDS, ("Missing", "Changed"))


def _deviation(one: Shipped, observed: Observed | None, path: str) -> Deviation:
    # Without a policy or a binding that denies, something is admitted that is refused otherwise.
    opens = one.is_policy or "Deny" in one.actions
    if observed is None:
        return Deviation(one.ref, "", "Missing", told(one, ""), widens=opens)
    details = bytes(observed.fields.get("spec", msgspec.Raw(b"")))
    return Deviation(one.ref, observed.uid, "Changed", told(one, path), path, widens=opens, details=details)


def told(one: Shipped, path: str) -> str:
    """What is wrong with a policy or binding, and what to do. `path`: the field that differs; "" if it is missing."""
    of = "" if one.is_policy else f" of {one.policy}"
    if not path:
        return f"{one.ref.kind} {one.ref.name}{of} is missing, so that {_LEFT}: {CURE}"
    return (
        f"{one.ref.kind} {one.ref.name}{of} is not as it ships with version {__version__}: {path} differs, so that it "
        f"is not sure what is enforced: {CURE}; what somebody added stays then: delete it first (kubectl delete "
        f"{one.ref.kind.plural} {one.ref.name})"
    )


def warnings(world: World, shipped: Sequence[Shipped]) -> Iterator[tuple[Shipped, str]]:
    """The policies that the API server type-checked with warnings, and the first warning of each: such an expression
    fails on some requests."""
    for one in shipped:
        if one.ref.kind is not VALIDATING_POLICY or (observed := world.get(one.ref)) is None:
            continue
        found = observed.at((*_TYPES, "expressionWarnings"))
        if isinstance(found, list) and found:
            first = found[0] if isinstance(found[0], dict) else {}
            yield one, f"{first.get('fieldRef', '')}: {' '.join(str(first.get('warning', '')).split())}"
