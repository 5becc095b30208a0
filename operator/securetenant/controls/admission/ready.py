"""The condition AdmissionReady: whether what the tenant declares for its workloads is enforced at admission. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from securetenant.api.status import Condition, ConditionStatus
from securetenant.api.tenant import SecureTenant
from securetenant.checks import accounts
from securetenant.controls.admission import probes, standing
from securetenant.controls.admission.shipped import Shipped, is_applied
from securetenant.controls.admission.standing import CURE, Comparison
from securetenant.controls.world import World
from securetenant.model.kinds import MUTATING_POLICY, NAMESPACE, VALIDATING_BINDING, VALIDATING_POLICY
from securetenant.model.objects import Desired
from securetenant.model.probe import Probed

CONDITION: Final = "AdmissionReady"
_NAMED: Final = 3  # at most this many go into a message
_NOT_KNOWN: Final = "so it is not known whether what is declared for workloads is enforced"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`passing`: it will change without help."""

    status: ConditionStatus
    reason: str
    message: str = ""
    passing: bool = False

    @property
    def condition(self) -> Condition:
        return Condition.of(CONDITION, self.status, self.reason, self.message)


def verdict(
    tenant: SecureTenant,
    world: World,
    name: str,
    desired: Sequence[Desired],
    shipped: Sequence[Shipped],
    comparison: Comparison,
) -> Verdict | None:
    """The first of what keeps the tenant's rules from being enforced, the worst first. `name`: the control's;
    `desired`: what is wanted on the namespaces. None without a cluster, and where nothing is found by looking and
    nothing was tried (`plan`)."""
    if world.platform.offline:
        return None
    probed = world.probed(name)
    found: tuple[Verdict | None, ...] = (
        _not_served(world),
        _differing(world, comparison),
        _warned(world, shipped),
    )
    if probed is not None:
        found = (*found, _account(world, shipped, probed), _unwritten(world, desired), _tried(probed, world, shipped))
    wrong = next((each for each in found if each is not None), None)
    return _enforced(tenant, world, shipped) if wrong is None and probed is not None else wrong


def _enforced(tenant: SecureTenant, world: World, shipped: Sequence[Shipped]) -> Verdict:
    told, is_warned = [], tenant.spec.admission == "Warn"
    if is_warned:
        told.append("spec.admission is Warn: the API server warns about what breaks a rule, and refuses nothing")
    for one in shipped:
        if one.ref.kind is not MUTATING_POLICY:
            continue
        if not world.serves(one.ref.kind):
            told.append(
                f"{one.ref.name} injects nothing into pods, which are judged as their authors wrote them: this API "
                f"server does not serve {MUTATING_POLICY.plural_name} (from Kubernetes {MUTATING_POLICY.since} on)"
            )
        elif not is_applied(one, shipped, world):
            told.append(f"{one.ref.name} is not applied, so pods are judged as their authors wrote them")
    message = "; ".join(told)
    return Verdict("True", "Warned", message) if is_warned else Verdict("True", "Enforced", message)


def _not_served(world: World) -> Verdict | None:
    missing = [kind for kind in (VALIDATING_POLICY, VALIDATING_BINDING) if not world.serves(kind)]
    if not missing:
        return None
    kind = missing[0]
    return Verdict(
        "False",
        "NotServed",
        f"this API server does not serve {kind.plural_name} ({kind.api_version}, from Kubernetes {kind.since} on), so "
        "that of what is declared for workloads only the Pod Security labels are enforced: upgrade it",
    )


def _differing(world: World, comparison: Comparison) -> Verdict | None:
    found = [(observed is None, standing.told(one, path)) for one, observed, path in comparison.differences(world)]
    if not found:
        return None
    is_missing = any(missing for missing, _ in found)
    ordered = [text for _, text in sorted(found, key=lambda each: not each[0])]
    return Verdict("False", "PolicyMissing" if is_missing else "PolicyChanged", _listed(ordered))


def _warned(world: World, shipped: Sequence[Shipped]) -> Verdict | None:
    found = [
        f"the API server type-checked {one.ref} with a warning, so that it fails on some requests: {warning}"
        for one, warning in standing.warnings(world, shipped)
    ]
    return Verdict("False", "NotInForce", _listed(found)) if found else None


def _account(world: World, shipped: Sequence[Shipped], probed: Probed) -> Verdict | None:
    """Whether the policies take this operator for the operator: they refuse anybody else's writes."""
    if not probed.user:
        return None
    for policy, given in _accounts(world, shipped):
        if probed.user not in given.operators:
            named = ", ".join(given.operators) or "no account"
            return Verdict(
                "False",
                "WrongAccount",
                f"the operator runs as {probed.user}, but {policy.ref} names {named} as the operator's account and "
                "refuses what others write: write the account into the file of the kustomize component "
                "manifests/components/accounts and apply that (kubectl apply -k), or run the operator as that account",
            )
    return None


def _accounts(world: World, shipped: Sequence[Shipped]) -> Iterator[tuple[Shipped, accounts.Accounts]]:
    """The accounts that stand in the policies which let the operator do what others may not."""
    for one in shipped:
        if one.is_policy and f"variables.{accounts.OPERATORS}" in str(one.spec):
            observed = world.get(one.ref)
            if observed is not None:
                yield one, accounts.read(observed.annotations.get(accounts.ANNOTATION, ""))


def _unwritten(world: World, desired: Iterable[Desired]) -> Verdict | None:
    """The namespaces whose parameters are not as they must be. One that does not exist yet is created with them."""
    places = [want.ref.name for want in desired if want.ref.kind is NAMESPACE and not _is_written(world, want)]
    if not places:
        return None
    return Verdict(
        "False",
        "ParametersPending",
        "the labels and annotations that the admission policies read are not yet read back as written, on the "
        f"namespaces {', '.join(dict.fromkeys(places))}",
        passing=True,
    )


def _is_written(world: World, want: Desired) -> bool:
    have = world.get(want.ref)
    return have is None or (
        want.labels.items() <= have.labels.items() and want.annotations.items() <= have.annotations.items()
    )


def _tried(probed: Probed, world: World, shipped: Sequence[Shipped]) -> Verdict | None:
    if not probed.answers:
        return Verdict("Unknown", "NotProbed", f"the operator's probe was not answered yet, {_NOT_KNOWN}", passing=True)
    missing = probes.unseen(probed, world, shipped)
    if probed.changed:
        return Verdict(
            "False",
            "NotInForce",
            "an admission policy or binding was changed a moment ago, and the API server takes about a second to put "
            "that into force",
            passing=True,
        )
    if not missing and probed.user:
        return None
    failed = list(probes.failures(probed.answers))
    if not missing or failed:
        cause = _listed(failed) or "it is not known as which user the operator runs"
        return Verdict("Unknown", "NotProbed", f"the operator's probe failed, {_NOT_KNOWN}: {cause}")
    told = [f"{one.ref} of {one.policy} is not in force: {instead}" for one, instead in missing]
    return Verdict("False", "NotInForce", f"{_listed(told)}; if that lasts, {CURE}", passing=True)


def _listed(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return f"{'; '.join(texts[:_NAMED])}{more}"
