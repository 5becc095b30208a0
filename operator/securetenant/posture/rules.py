"""What the objects in a tenant's namespaces are judged by: the checks, and the annotations that hold their parameters
and exemptions. They come from the plans, so that they are the same in Audit, where the namespaces do not carry them."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Final

import msgspec

from securetenant.api.tenant import SecureTenant
from securetenant.checks import gateway_api
from securetenant.checks.check import Check, CheckSet
from securetenant.checks.targets import TARGETS, Target
from securetenant.checks.variables import EXEMPTIONS, judging, variables
from securetenant.controls.control import Within
from securetenant.controls.registry import CHECKS, CONTROLS
from securetenant.controls.world import World
from securetenant.drift.assess import Assessment
from securetenant.drift.merge import merged
from securetenant.model.kinds import NAMESPACE, Kind
from securetenant.model.objects import Desired
from securetenant.posture import addresses

# Templates are not inspected: the pods made from them are.
INSPECTED: Final = tuple(
    target for target in TARGETS if target.inspected and not target.judged_as and judging(target, CHECKS)
)
# The annotations of a namespace that checks read.
ANNOTATIONS: Final = (EXEMPTIONS, *(one.annotation for one in CHECKS))


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one namespace. `uid`: of the namespace that they are for, "" if it does not exist. `annotations`:
    those of `ANNOTATIONS`, as the operator writes them. `subnets`: the blocks that its pods' addresses must lie in,
    none if it has no subnet; `remedy`: as `controls.control.Within`."""

    namespace: str
    uid: str
    annotations: Mapping[str, str]
    subnets: tuple[str, ...] = ()
    remedy: str = ""

    @property
    def digest(self) -> str:
        """Differs where the same objects could be judged differently."""
        return _digest([self.uid, self.annotations, _version(), *([self.subnets] if self.subnets else [])])


def of_plans(
    desired: Iterable[Desired], held: Mapping[str, str], within: Mapping[str, Within] = MappingProxyType({})
) -> list[Rules]:
    """The rules of the namespaces that a tenant holds. `desired`: merged; `held`: their UIDs;
    `within`: where their pods' addresses must lie."""
    marked = {want.ref.name: want.annotations for want in desired if want.ref.kind is NAMESPACE}
    return [
        Rules(name, uid, read_by_checks(marked[name]), *within.get(name, ()))
        for name, uid in held.items()
        if name in marked
    ]


def of(found: Assessment, held: Mapping[str, str]) -> list[Rules]:
    """The same of an assessment, with the subnets that its plans give. `held`: as in a Pass."""
    return of_plans(found.desired, held, found.addresses)


def read_by_checks(annotations: Mapping[str, str]) -> dict[str, str]:
    return {key: annotations[key] for key in ANNOTATIONS if key in annotations}


def marks(tenant: SecureTenant, world: World, now: datetime) -> dict[str, Desired]:
    """What the operator writes on the tenant's namespaces, by their names: it comes from its plan."""
    plans = (control.plan(tenant, world, now) for control in CONTROLS if NAMESPACE in control.kinds)
    desired = merged(want for plan in plans for want in plan.desired if want.ref.kind is NAMESPACE)
    return {want.ref.name: want for want in desired}


@cache
def checks_of(target: Target) -> dict[str, tuple[CheckSet, Check]]:
    """The checks of a target by ID, those that what stands can be judged by."""
    return {one.identifier(check): (one, check) for one, check in judging(target, CHECKS) if not check.at_creation}


@cache
def inspected() -> dict[str, tuple[CheckSet, frozenset[str]]]:
    """Every check by ID: its control's, and the names of the targets that are judged by it."""
    made: dict[str, tuple[CheckSet, frozenset[str]]] = {}
    for target in INSPECTED:
        for name, (one, _) in checks_of(target).items():
            made[name] = (one, made[name][1] | {target.name} if name in made else frozenset({target.name}))
    return made


def judged_by(subnets: Sequence[str]) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Every check of a namespace with these subnets: its ID, its control, and the names of the targets that are judged
    by it."""
    for name, (one, targets) in inspected().items():
        yield name, one.control, targets
    if subnets:
        yield addresses.ID, addresses.CONTROL, frozenset({addresses.TARGET})


@cache
def kinds() -> Mapping[Target, tuple[Kind, ...]]:
    """By target, the kinds that are listed to judge what runs; of a custom resource one in each of its versions."""
    return {target: tuple(_kind(*one) for one in target.kinds) for target in INSPECTED}


def _kind(api_version: str, name: str) -> Kind:
    """Not one of `model.kinds`: the whole object is read, whatever the operator caches of that kind."""
    group, _, version = api_version.rpartition("/")
    optional = group in gateway_api.RESOURCES
    return Kind(name, group, version, _plural(name.lower()), namespaced=True, optional=optional)


def _plural(name: str) -> str:
    """As in the path of its collection."""
    if name == "endpoints":
        return name
    if name.endswith("y") and name[-2] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "ch")) else f"{name}s"


@cache
def _version() -> str:
    """Of the checks: another one is another law."""
    return _digest(
        [
            [
                target.name,
                target.running,
                variables(target, CHECKS),
                [[name, asdict(check)] for name, (_, check) in checks_of(target).items()],
            ]
            for target in INSPECTED
        ]
    )


def _digest(content: object) -> str:
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:12]
