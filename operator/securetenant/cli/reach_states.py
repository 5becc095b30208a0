"""What `reach` looks at: a cluster, files, or files on a cluster; as it is, and as the SecureTenants declare it."""

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import ip_network

import msgspec

from securetenant.api.tenant import Metadata, SecureTenant
from securetenant.cache import snapshot
from securetenant.cache.world import World
from securetenant.cli.documents import Unreadable, read
from securetenant.cli.issues import located
from securetenant.cli.validate_tenants import check
from securetenant.controls import ownership
from securetenant.controls.control import NO_CLUSTER, Plan
from securetenant.controls.lookup import NAMED
from securetenant.controls.network.policies import rule_of
from securetenant.drift.applied import recorded
from securetenant.model import names
from securetenant.model.kinds import CLUSTER_NETWORK_POLICY, KUBE_OVN_SUBNET, NAMESPACE, NETWORK_POLICY
from securetenant.model.objects import Json, Observed, Ref, marks
from securetenant.model.platform import Platform
from securetenant.reach import reading, tiers
from securetenant.reach.reading import Malformed, Read
from securetenant.reach.values import Cluster, Standing, Tiered
from securetenant.sets import kube_ovn
from securetenant.settings import Settings

# Which controls' objects decide who reaches whom, or which namespaces there are.
_CONTROLS = (NAMED["namespaces"], NAMED["network"])
_LISTED = 3  # tenants that a note names
_LATER = "9999"  # than all that stands
_MANY = 50  # namespaces without any policy, from which on they are taken together


class ReachError(Exception):
    """There is no answer; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """A rule of a tenant by which a policy of the operator stands. `rule`: "" where it is for all of the tenant's pods
    (DNS, isolation)."""

    tenant: str
    direction: str
    rule: str
    ticket: str = ""
    expires: datetime | None = None


@dataclass(frozen=True)
class State:
    """`read`: what is there. `declared`: what would be if tenants' namespaces had the operator's policies alone, and no
    Subnet of Kube-OVN had rules; `sources` explains its policies. `owner`: by namespace, the tenant. `objects`: all
    that was read. `notes`: what is not counted, and why.
    """

    title: str
    read: Read
    declared: Cluster
    sources: Mapping[Ref, Source]
    owner: Mapping[str, str]
    objects: Sequence[Json]
    notes: Sequence[str] = ()

    @property
    def cluster(self) -> Cluster:
        return self.read.cluster

    @property
    def tenants(self) -> tuple[str, ...]:
        return tuple(sorted({*self.owner.values()}))

    @cached_property
    def loose(self) -> frozenset[str]:
        """The tenants' namespaces in which no NetworkPolicy stands (as in Audit), if there are many."""
        found = frozenset(name for name in self.owner if not self.cluster.policies.get(name))
        return found if len(found) > _MANY else frozenset()

    def loosened(self) -> "State":
        """With these namespaces as they are, and not as declared: otherwise each would be another case, with each of
        the others. What is open between them counts as undeclared."""
        loose = self.loose
        if not loose:
            return self
        policies = {name: listed for name, listed in self.declared.policies.items() if name not in loose}
        told = (
            f"no NetworkPolicy stands in {len(loose)} namespaces of tenants: whatever is open between these and others "
            "counts as undeclared; --tenant NAME tells exactly"
        )
        return replace(self, declared=replace(self.declared, policies=policies), notes=(*self.notes, told))

    def with_pods(self) -> "State":
        """With the pods that are known, and no others."""
        pods = self.read.pods
        cluster = replace(self.cluster, pods=pods)
        return replace(self, read=Read(cluster, pods), declared=replace(self.declared, pods=pods))


@dataclass(slots=True)
class Given:
    """What stands in files. `others`: SubnetPools, for rendering."""

    title: str
    objects: list[Json] = field(default_factory=list)
    tenants: list[SecureTenant] = field(default_factory=list)
    others: list[Observed] = field(default_factory=list)


def given(files: Sequence[str], platform: Platform, now: datetime) -> Given:
    """Raises ReachError with all errors of the files."""
    try:
        found = read(files, keep=True)
    except Unreadable as error:
        raise ReachError(str(error)) from error
    checked = check(found, platform, now)
    if checked.errors:
        raise ReachError("\n".join(located(issue) for issue in checked.errors))
    bodies = [one.body for one in (*found.kept, *found.workloads)]
    tenants = [one.tenant for one in checked.tenants]
    return Given(" ".join(files), bodies, tenants, checked.others)


def of_files(files: Sequence[str], settings: Settings) -> State:
    """Raises ReachError."""
    now, platform = datetime.now(UTC), settings.platform()
    found = given(files, platform, now)
    world = snapshot.world_without_cluster(found.tenants, platform, found.others)
    return state(found.title, found.objects, found.tenants, world, now, rendering=True)


def state(
    title: str,
    objects: Sequence[Json],
    tenants: Iterable[SecureTenant],
    world: World,
    now: datetime,
    *,
    rendering: bool,
    on_cluster: Sequence[Json] = (),
    notes: Sequence[str] = (),
    unclear: Sequence[str] = (),
    unread: Sequence[str] = (),
) -> State:
    """`rendering`: what the operator would write is in force, and not what it wrote before. `on_cluster`: the objects
    that it may have written; what a file brings counts whatever its labels or a status in a file say. `unclear`: what
    may change any namespace's answer; `unread`: those of tenants that declare a cidr. Raises ReachError."""
    try:
        found = reading.read(objects, map(ip_network, world.platform.cluster_cidrs))
    except Malformed as error:
        raise ReachError(f"{error}: correct it, or leave it out") from error
    # With the rules of their templates, as the operator has them.
    rendered = [_rendered(world.tenant(tenant.name) or tenant, world, now) for tenant in tenants]
    cluster = found.cluster
    spaces = dict(cluster.namespaces)
    told: list[tuple[str, str]] = []
    writing = [one for one in rendered if one.tenant.spec.mode == "Enforce"] if rendering else []
    for one in writing:
        for name, labels in one.namespaces():
            spaces[name] = reading.labels(name, {**spaces.get(name, {}), **labels})
        told += [(one.tenant.name, message) for message in one.notes()]
    if rendering:
        told += [
            (one.tenant.name, f"mode is {one.tenant.spec.mode}: its policies are not counted as being in force")
            for one in rendered
            if one.tenant.spec.mode != "Enforce"
        ]
        for name in _named(rendered, world, now):
            spaces.setdefault(name, reading.labels(name))
    sources = {ref: one.source(ref) for one in rendered for ref in one.refs()}
    # Those that the operator writes are not rendered here.
    replaced = {
        f"{KUBE_OVN_SUBNET.prefix}{entry.name}"
        for one in writing
        for entry in one.tenant.spec.namespaces
        if entry.subnet is not None
    }
    written = set(_written([one.tenant for one in writing], on_cluster, world))
    standing = {name: [one for one in found if one.ref not in written] for name, found in cluster.policies.items()}
    cluster = replace(
        cluster,
        namespaces=spaces,
        policies=_joined(standing, writing),
        tiers=_tiers(cluster.tiers, written, writing),
        switches=[_without_rules(one) if one.name in replaced else one for one in cluster.switches],
        unclear=_with(_with(cluster.unclear, unclear, spaces), unread, _with_cidr(rendered)),
    )
    owner = _owners(spaces, world, [one.tenant for one in rendered])
    others = {name: listed for name, listed in cluster.policies.items() if name not in owner}
    ours = {ref for one in rendered for ref in recorded(one.tenant.status)}
    declared = replace(
        cluster,
        policies=_joined(others, rendered),
        tiers=[left for one in _tiers(cluster.tiers, ours, rendered) if (left := _outside_of(owner, one, sources))],
        switches=list(map(_without_rules, cluster.switches)),
        unclear={},
    )
    told += [("", what) for what in _uncertain(cluster)]
    return State(title, Read(cluster, found.pods), declared, sources, owner, objects, [*notes, *_notes(told)])


def _notes(told: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What is told of several tenants, once."""
    tenants: dict[str, dict[str, None]] = {}
    for name, message in told:
        tenants.setdefault(message, {})[name] = None
    for message, found in tenants.items():
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        about = f"{', '.join([*found][:_LISTED])}{more}"
        yield f"{about}: {message}" if about else message


def _named(rendered: Iterable["_Rendered"], world: World, now: datetime) -> Iterator[str]:
    """Namespaces that are there, or are meant to be: every cluster's own, the tenants', and those that they name."""
    yield from names.BUILT_IN_NAMESPACES
    yield from filter(None, (world.platform.dns_namespace, world.platform.operator_namespace))
    for one in rendered:
        yield from (entry.name for entry in one.tenant.spec.namespaces)
        for control in _CONTROLS:
            yield from (reference.namespace for reference in control.references(one.tenant, now))


@dataclass(frozen=True, slots=True)
class _Rendered:
    tenant: SecureTenant
    plans: Sequence[Plan]
    policies: Sequence[Standing]
    tiers: Sequence[Tiered]

    def namespaces(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        for want in (want for plan in self.plans for want in plan.desired if want.ref.kind is NAMESPACE):
            yield want.ref.name, {**want.labels, **marks(self.tenant.name, want.control)}

    def refs(self) -> Iterator[Ref]:
        yield from (one.ref for one in self.policies)
        yield from (one.ref for one in self.tiers)

    def source(self, ref: Ref) -> Source:
        found = rule_of(ref.name)
        if found is None:
            return Source(self.tenant.name, "", ref.name.removeprefix(f"{names.CHILD_PREFIX}-"))
        direction, name = found
        listed = self.tenant.spec.network.ingress if direction == "ingress" else self.tenant.spec.network.egress
        rule = next((one for one in listed if one.name == name), None)
        if rule is None:
            return Source(self.tenant.name, direction, name)
        return Source(self.tenant.name, direction, name, rule.ticket, rule.expires)

    def notes(self) -> Iterator[str]:
        for plan in self.plans:
            for condition in plan.conditions:
                if condition.reason == NO_CLUSTER:
                    yield condition.message


def _rendered(tenant: SecureTenant, world: World, now: datetime) -> _Rendered:
    plans = [control.plan(tenant, world, now) for control in _CONTROLS]
    policies = [
        reading.standing(want.ref.namespace, want.ref.name, want.body["spec"])
        for plan in plans
        for want in plan.desired
        if want.ref.kind is NETWORK_POLICY
    ]
    above = [
        reading.tiered(want.ref.kind, want.ref.name, want.body["spec"])
        for plan in plans
        for want in plan.desired
        if want.ref.kind is CLUSTER_NETWORK_POLICY
    ]
    return _Rendered(tenant, plans, policies, above)


def _tiers(standing: Iterable[Tiered], written: Container[Ref], rendered: Iterable[_Rendered]) -> list[Tiered]:
    """These, and those of the tenants instead of what was `written` for them before. What stands keeps its age."""
    found = {one.ref: one for one in standing}
    planned = [one for tenant in rendered for one in tenant.tiers]
    wanted = {one.ref: one._replace(created=found[one.ref].created if one.ref in found else _LATER) for one in planned}
    return [*(one for ref, one in found.items() if ref not in written and ref not in wanted), *wanted.values()]


def _outside_of(owner: Collection[str], one: Tiered, sources: Container[Ref]) -> Tiered | None:
    """Ours; and what the policies of others say of namespaces that no tenant has."""
    return one if one.ref in sources else tiers.elsewhere(one, owner)


def _without_rules(subnet: kube_ovn.Subnet) -> kube_ovn.Subnet:
    return replace(subnet, is_private=False, allowed=(), acls=(), unclear=())


def _uncertain(cluster: Cluster) -> Iterator[str]:
    if cluster.tiers and not cluster.are_tiers_enforced:
        yield (
            "whether Kube-OVN enforces ClusterNetworkPolicies (ENABLE_ANP) no object tells: what they deny counts as "
            "open all the same"
        )


def _joined(standing: Mapping[str, Sequence[Standing]], rendered: Iterable[_Rendered]) -> dict[str, Sequence[Standing]]:
    """These policies, and those of the tenants, which replace what has their name."""
    found = {name: {one.ref: one for one in listed} for name, listed in standing.items()}
    for tenant in rendered:
        for policy in tenant.policies:
            found.setdefault(policy.ref.namespace, {})[policy.ref] = policy
    return {name: list(listed.values()) for name, listed in found.items()}


def _written(tenants: Iterable[SecureTenant], on_cluster: Iterable[Json], world: World) -> Iterator[Ref]:
    """What the operator wrote for these tenants before and takes away or writes again: in their own namespaces what has
    their marks, and in none what their status records."""
    known = {one.name: one for one in tenants}
    applied = {ref for one in known.values() for ref in recorded(one.status)}
    for body in on_cluster:
        metadata = body.get("metadata")
        if not isinstance(metadata, dict):
            continue
        space, name = str(metadata.get("namespace") or ""), str(metadata.get("name"))
        if body.get("kind") == CLUSTER_NETWORK_POLICY.name:
            yield from {Ref(CLUSTER_NETWORK_POLICY, "", name)} & applied
        elif body.get("kind") == NETWORK_POLICY.name:
            found = metadata.get("labels")
            labels = found if isinstance(found, dict) else {}
            tenant = known.get(str(labels.get(names.LABEL_TENANT)))
            if tenant is None or labels.get(names.LABEL_MANAGED_BY) != names.MANAGED_BY:
                continue
            if ownership.may_write(tenant, space, world):
                yield Ref(NETWORK_POLICY, space, name)


def _with(
    unclear: Mapping[str, Sequence[str]], more: Sequence[str], spaces: Iterable[str]
) -> Mapping[str, Sequence[str]]:
    return {**unclear, **{name: (*unclear.get(name, ()), *more) for name in spaces}} if more else unclear


def _with_cidr(rendered: Iterable[_Rendered]) -> set[str]:
    """The namespaces of tenants that declare one."""
    found: set[str] = set()
    for spec in (one.tenant.spec for one in rendered):
        peers = [*(rule.from_ for rule in spec.network.ingress), *(rule.to for rule in spec.network.egress)]
        if any(peer.cidr is not None for listed in peers for peer in listed):
            found.update(entry.name for entry in spec.namespaces)
    return found


def _owners(spaces: Mapping[str, Mapping[str, str]], world: World, tenants: Sequence[SecureTenant]) -> dict[str, str]:
    """By namespace, the tenant that has it; by the namespace's label where no SecureTenant that is known claims it."""
    found = {}
    for name, labels in spaces.items():
        tenant = ownership.holder(name, world) if tenants else None
        owner = tenant.name if tenant is not None else labels.get(names.LABEL_TENANT, "")
        if owner:
            found[name] = owner
    return found


# --- a cluster


def applied(standing: Mapping[str, SecureTenant], files: Iterable[SecureTenant]) -> list[SecureTenant]:
    """The cluster's tenants, with those of the files as if they were applied."""
    import uuid

    found = dict(standing)
    for one in files:
        if one.name in standing:
            found[one.name] = standing[one.name].model_copy(update={"spec": one.spec})
        else:
            found[one.name] = SecureTenant(metadata=Metadata(name=one.name, uid=str(uuid.uuid4())), spec=one.spec)
    return list(found.values())


def beside(objects: Iterable[Json], over: Iterable[Json]) -> list[Json]:
    """The cluster's objects that no object of files replaces."""
    replaced = set(map(_key, over))
    return [body for body in objects if _key(body) not in replaced]


def overlaid(objects: Iterable[Json], over: Iterable[Json]) -> list[Json]:
    """The cluster's objects, with those of files as if they were applied."""
    found = {_key(body): body for body in objects}
    found.update((_key(body), body) for body in over)
    return list(found.values())


def _key(body: Json) -> tuple[str, str, str, str]:
    metadata = body.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    group = str(body.get("apiVersion")).rpartition("/")[0]
    return group, str(body.get("kind")), str(known.get("namespace") or ""), str(known.get("name"))


def json_of(page: bytes, api_version: str, kind: str) -> Iterator[Json]:
    """The objects of a page of a list, whose items need not have apiVersion and kind."""
    for item in msgspec.json.decode(page).get("items") or ():
        yield {**item, "apiVersion": api_version, "kind": kind}
