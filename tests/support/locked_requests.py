"""Requests, and whether the policies refuse them that lock what is ours: of each rule both sides.
tests/checks/test_policy_mutants.py looks whether they notice a mistake in a policy."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from securetenant.checks import accounts
from securetenant.checks.policies import ADMISSION
from securetenant.controls.admission import lock, posture, subnets
from tests.support import plugins
from tests.support.life import Json
from tests.support.locked import BREAK_GLASS, LOCKS, MANAGED_BY, OWNERS, TENANT
from tests.support.policed import ERROR, Request, Verdict, changed_by
from tests.support.posture import PLAIN

OPERATOR: Final = accounts.DEFAULT.operators[0]
CNI: Final = accounts.DEFAULT.cni[0]
RBAC: Final = "rbac.authorization.k8s.io"
#: Group, resource and kind.
KINDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "namespace": ("", "namespaces", "Namespace"),
    "node": ("", "nodes", "Node"),
    "event": ("", "events", "Event"),
    "quota": ("", "resourcequotas", "ResourceQuota"),
    "range": ("", "limitranges", "LimitRange"),
    "policy": ("networking.k8s.io", "networkpolicies", "NetworkPolicy"),
    "binding": (RBAC, "rolebindings", "RoleBinding"),
    "tenant": ("securetenant.dev", "securetenants", "SecureTenant"),
    "ranges": ("securetenant.dev", "subnetpools", "SubnetPool"),
    "template": ("securetenant.dev", "networktemplates", "NetworkTemplate"),
    "tier": ("policy.networking.k8s.io", "clusternetworkpolicies", "ClusterNetworkPolicy"),
    **{name: (kind.group, kind.plural, kind.name) for name, kind in plugins.KINDS.items()},
}
MARKS: Final = {MANAGED_BY: "securetenant", TENANT: "shop"}
HALVES: Final = ({MANAGED_BY: "securetenant"}, {TENANT: "shop"})
_EVERY: Final = "foreign=networkpolicies,rolebindings"


class Case(NamedTuple):
    """`refused`: by the policy that the case is about. `audited`: the audit annotations that it leaves besides."""

    name: str
    request: Request
    refused: bool
    audited: Mapping[str, str] = MappingProxyType({})

    def fits(self, verdict: Verdict) -> bool:
        """Whether a verdict is as the case says. A refusal by one of the locks tells what was done to which object."""
        if bool(verdict.refused) != self.refused or verdict.refused == ERROR:
            return False
        if not self.audited.items() <= verdict.audited.items():
            return False
        if not self.refused or verdict.refused.startswith("restrained: "):
            return True
        return f"{_DONE[self.request.operation]}{self.request.kind} {_name(self.request)}: " in verdict.refused


_DONE: Final = {"CREATE": "creation of ", "UPDATE": " of ", "DELETE": "deletion of "}


def _name(request: Request) -> str:
    return str((request.new or request.old or {})["metadata"]["name"])


def space(locks: str = f"v1;{_EVERY}", tenant: str = "shop") -> Json:
    """The metadata of a namespace in which policies look at objects."""
    labels = {ADMISSION: "Deny"} | ({TENANT: tenant} if tenant else {})
    return {"labels": labels, "annotations": {LOCKS: locks} if locks else {}}


SHOP: Final = space()
STRICT: Final = space("v1")
OFF: Final = space(f"v1;unlocked=posture;{_EVERY}")
NOBODYS: Final = space("", "")


def thing(content: Json, labels: Json | None = None, name: str = "one", **metadata: Any) -> Json:
    given = {"name": name, **({"labels": labels} if labels else {}), **metadata}
    return {"metadata": given, **content}


def made(kind: str, new: Json, **other: Any) -> Request:
    return Request("CREATE", *KINDS[kind], new=new, **other)


def changed(kind: str, old: Json, change: Json, **other: Any) -> Request:
    return Request("UPDATE", *KINDS[kind], old=old, new=changed_by(old, change), **other)


def gone(kind: str, old: Json, **other: Any) -> Request:
    return Request("DELETE", *KINDS[kind], old=old, **other)


METADATA: Final[Mapping[str, Json]] = {
    "label": {"metadata": {"labels": {"mine": "1"}}},
    "annotation": {"metadata": {"annotations": {"mine": "1"}}},
    "finalizers": {"metadata": {"finalizers": ["example.com/x"]}},
    "owners": {"metadata": {"ownerReferences": OWNERS}},
}
UNMARKED: Final = {"metadata": {"labels": dict.fromkeys(MARKS)}}
_GLASS: Final = {"groups": ("system:authenticated", BREAK_GLASS)}
MALLORY: Final = {"kind": "User", "name": "mallory", "apiGroup": RBAC}

# --- the posture lock

CONTENT: Final[Mapping[str, Mapping[str, Json]]] = {
    "quota": {"spec": {"spec": {"hard": {"pods": "9"}}}, "status": {"status": {"hard": {"pods": "9"}}}},
    "range": {"spec": {"spec": {"limits": [{"type": "Pod"}]}}},
    "policy": {"spec": {"spec": {"egress": [{}]}}},
    "binding": {"subjects": {"subjects": []}, "role": {"roleRef": {"name": "admin"}}},
}


def of_posture() -> Iterator[Case]:
    """What is done to objects in namespaces."""
    for kind, content in CONTENT.items():
        body, at = PLAIN[kind], {"namespace": "shop-a", "space": SHOP}
        ours, theirs = thing(body, MARKS), thing(body, {"mine": "0"})
        for name, change in {**content, **METADATA, "marks": UNMARKED}.items():
            yield Case(f"{kind} {name}", changed(kind, ours, change, **at), True)
            yield Case(f"{kind} {name} unlocked", changed(kind, ours, change, **at | {"space": OFF}), False)
            yield Case(f"{kind} {name} of nobody", changed(kind, ours, change, **at | {"space": NOBODYS}), False)
            yield Case(f"{kind} {name} by the operator", changed(kind, ours, change, **at, user=OPERATOR), False)
            yield Case(f"{kind} {name} of others", changed(kind, theirs, change, **at), False)
        first = next(iter(content.values()))
        yield Case(f"{kind} nothing", changed(kind, ours, {}, **at), False)
        yield Case(f"{kind} deletion", gone(kind, ours, **at), True)
        yield Case(f"{kind} deletion unlocked", gone(kind, ours, **at | {"space": OFF}), False)
        yield Case(f"{kind} deletion of others", gone(kind, theirs, **at), False)
        yield Case(f"{kind} creation", made(kind, ours, **at), True)
        yield Case(f"{kind} creation of nobody", made(kind, ours, **at | {"space": NOBODYS}), False)
        yield Case(f"{kind} creation of others", made(kind, theirs, **at), False)
        yield Case(f"{kind} creation by Helm", made(kind, thing(body, {MANAGED_BY: "Helm"}), **at), False)
        for number, half in enumerate(HALVES):
            yield Case(f"{kind} half {number}", changed(kind, thing(body, half), first, **at), True)
            yield Case(f"{kind} half {number} creation", made(kind, thing(body, half), **at), True)
            yield Case(f"{kind} half {number} deletion", gone(kind, thing(body, half), **at), True)
            marked = {"metadata": {"labels": half}}
            yield Case(f"{kind} marked {number}", changed(kind, theirs, marked, **at), True)
            taken = {"metadata": {"labels": dict.fromkeys(half)}}
            yield Case(f"{kind} unmarked {number}", changed(kind, thing(body, half), taken, **at), True)
        told = {"tenant": "shop", "break-glass": f"deletion of {KINDS[kind][2]} one"}
        yield Case(f"{kind} by break-glass", changed(kind, ours, first, **at, **_GLASS), False)
        yield Case(f"{kind} deletion by break-glass", gone(kind, ours, **at, **_GLASS), False, told)
        yield Case(f"{kind} by another group", gone(kind, ours, **at, groups=(f"{BREAK_GLASS}2",)), True)
        for user in lock.CONTROLLERS:
            yield Case(f"{kind} deletion by {user}", gone(kind, ours, **at, user=user), False)
            yield Case(f"{kind} by {user}", changed(kind, ours, first, **at, user=user), False)
        for user in posture.COUNTERS:
            yield Case(f"{kind} by {user}", changed(kind, ours, first, **at, user=user), True)
            yield Case(f"{kind} deletion by {user}", gone(kind, ours, **at, user=user), True)
        yield from _foreign(kind, content, theirs, ours)
    status = {"namespace": "shop-a", "space": SHOP, "subresource": "status"}
    quota, counted = thing(PLAIN["quota"], MARKS), {"status": {"used": {"pods": "1"}}}
    yield Case("quota count", changed("quota", quota, counted, **status), True)
    for user in (*posture.COUNTERS, *lock.CONTROLLERS):
        yield Case(f"quota count by {user}", changed("quota", quota, counted, **status, user=user), False)


def _foreign(kind: str, content: Mapping[str, Json], theirs: Json, ours: Json) -> Iterator[Case]:
    """Where others' objects are removed."""
    is_widening = kind in ("policy", "binding")
    at = {"namespace": "shop-a", "space": STRICT}
    plural = KINDS[kind][1]
    yield Case(f"{kind} foreign", made(kind, theirs, **at), is_widening)
    yield Case(f"{kind} foreign by the operator", made(kind, theirs, **at, user=OPERATOR), False)
    yield Case(f"{kind} foreign by break-glass", made(kind, theirs, **at, **_GLASS), False)
    yield Case(f"{kind} foreign deletion", gone(kind, theirs, **at), False)
    yield Case(f"{kind} strict", changed(kind, ours, next(iter(content.values())), **at), True)
    yield Case(f"{kind} strict deletion", gone(kind, ours, **at), True)
    for name, change in content.items():
        yield Case(f"{kind} foreign {name}", changed(kind, theirs, change, **at), is_widening)
    for name, change in METADATA.items():
        yield Case(f"{kind} foreign {name}", changed(kind, theirs, change, **at), False)
    named = {"namespace": "shop-a", "space": space(f"v1;foreign={plural}")}
    yield Case(f"{kind} foreign admitted", made(kind, theirs, **named), False)
    off = {"namespace": "shop-a", "space": space("v1;unlocked=posture")}
    yield Case(f"{kind} foreign unlocked", made(kind, theirs, **off), False)
    nobodys = {"namespace": "shop-a", "space": space("v1", "")}
    yield Case(f"{kind} foreign of nobody", made(kind, theirs, **nobodys), False)
    other = "rolebindings" if kind == "policy" else "networkpolicies"
    only = {"namespace": "shop-a", "space": space(f"v1;foreign={other}")}
    yield Case(f"{kind} foreign, another admitted", made(kind, theirs, **only), is_widening)


# --- the lock on subnets


def of_subnets() -> Iterator[Case]:
    """What is done to the objects of network plug-ins."""
    for kind in plugins.KINDS:
        ours, theirs = plugins.body(kind, "shop-a", "shop"), plugins.body(kind, "shop-a")
        off = plugins.body(kind, "shop-a", "shop", "v1;unlocked=posture")
        for name, spec in plugins.MOVED[kind].items():
            change = {"spec": spec}
            for user in ("mallory", OPERATOR, CNI, *subnets.CONTROLLERS):
                yield Case(f"{kind} {name} by {user}", changed(kind, ours, change, user=user), True)
            yield Case(f"{kind} {name} by break-glass", changed(kind, ours, change, **_GLASS), True)
            yield Case(f"{kind} {name} unlocked", changed(kind, off, change), True)
            yield Case(f"{kind} {name} of others", changed(kind, theirs, change), False)
            both = {**change, **UNMARKED}
            yield Case(f"{kind} {name} unmarked", changed(kind, ours, both, user=OPERATOR), True)
        opened = {f"opened {field}": {"spec": {field: given}} for field, given in plugins.OPENED[kind].items()}
        filled = {f"filled {field}": {"spec": {field: given}} for field, given in plugins.FILLED[kind].items()}
        marks: dict[str, Json] = {
            "marks": UNMARKED,
            "managed-by": {"metadata": {"labels": {MANAGED_BY: None}}},
            "tenant": {"metadata": {"labels": {TENANT: "other"}}},
            "locks": {"metadata": {"annotations": {LOCKS: "v1;unlocked=posture"}}},
            "no locks": {"metadata": {"annotations": {LOCKS: None}}},
            "record": {"metadata": {"annotations": {"securetenant.dev/applied": "{}"}}},
        }
        status = {"status": {"status": {"a": 1}}}
        own = {*marks, "owners", *opened}
        for name, change in {**opened, **filled, **METADATA, **marks, **status}.items():
            yield Case(f"{kind} {name}", changed(kind, ours, change), True)
            yield Case(f"{kind} {name} unlocked", changed(kind, off, change), False)
            yield Case(f"{kind} {name} by the operator", changed(kind, ours, change, user=OPERATOR), False)
            yield Case(f"{kind} {name} by break-glass", changed(kind, ours, change, **_GLASS), False)
            yield Case(f"{kind} {name} by the plug-in", changed(kind, ours, change, user=CNI), name in own)
            for user in subnets.CONTROLLERS:
                yield Case(f"{kind} {name} by {user}", changed(kind, ours, change, user=user), False)
        for field in ("labels", "annotations"):
            alike = {"metadata": {field: {"x.securetenant.dev/a": "1"}}}
            yield Case(f"{kind} {field} that look like ours", changed(kind, ours, alike, user=CNI), False)
        if kind == "subnet":
            for field, empty in {"private": False, "allowSubnets": [], "acls": [], "namespaces": []}.items():
                bare, void = (changed_by(ours, {"spec": {field: given}}) for given in (None, empty))
                for name, old, new in (("filled in", bare, void), ("left out", void, bare)):
                    by_plugin = Request("UPDATE", *KINDS[kind], old=old, new=new, user=CNI)
                    yield Case(f"{kind} empty {field} {name} by the plug-in", by_plugin, False)
                    yield Case(f"{kind} empty {field} {name}", replace(by_plugin, user="mallory"), True)
                given = {"spec": {field: ours["spec"][field]}}
                for name, old in {"absent": bare, "empty": void}.items():
                    yield Case(f"{kind} {name} {field} set by the plug-in", changed(kind, old, given, user=CNI), True)
            selecting = {"spec": {"namespaceSelectors": [{"matchLabels": {"env": "prod"}}]}}
            for name, old in {"absent": ours, "empty": changed_by(ours, {"spec": {"namespaceSelectors": []}})}.items():
                by_plugin = changed(kind, old, selecting, user=CNI)
                yield Case(f"{kind} {name} namespaceSelectors set by the plug-in", by_plugin, True)
            labelled = changed(kind, changed_by(ours, selecting), METADATA["label"], user=CNI)
            yield Case(f"{kind} selecting before, by the plug-in", labelled, False)
        drawn = changed_by(ours, {"spec": plugins.OPENED[kind]})
        yield Case(f"{kind} opened before, by the plug-in", changed(kind, drawn, METADATA["label"], user=CNI), False)
        if kind.startswith("pool"):
            without = {"spec": {"nodeSelector": None}}
            yield Case(f"{kind} taken by the plug-in", changed(kind, ours, without, user=CNI), True)
        for name, change in {**opened, **filled, **METADATA, **status}.items():
            yield Case(f"{kind} {name} of others", changed(kind, theirs, change), False)
        yield Case(f"{kind} nothing", changed(kind, ours, {}), False)
        for number, half in enumerate(HALVES):
            one = {**theirs, "metadata": {**theirs["metadata"], "labels": half}}
            yield Case(f"{kind} half {number}", changed(kind, one, METADATA["label"]), True)
            yield Case(f"{kind} half {number} creation", made(kind, one), True)
            yield Case(f"{kind} half {number} deletion", gone(kind, one), True)
            yield Case(f"{kind} marked {number}", changed(kind, theirs, {"metadata": {"labels": half}}), True)
        helm = {**theirs, "metadata": {**theirs["metadata"], "labels": {MANAGED_BY: "Helm"}}}
        yield Case(f"{kind} creation by Helm", made(kind, helm), False)
        for name, old in (("", ours), (" unlocked", off)):
            is_locked = not name
            yield Case(f"{kind} creation{name}", made(kind, old), True)
            yield Case(f"{kind} deletion{name}", gone(kind, old), is_locked)
            yield Case(f"{kind} deletion by the plug-in{name}", gone(kind, old, user=CNI), is_locked)
            yield Case(f"{kind} creation by the plug-in{name}", made(kind, old, user=CNI), True)
        other = plugins.body(kind, "shop-a", "shop", "v1;unlocked=namespaces")
        yield Case(f"{kind} deletion, another lock off", gone(kind, other), True)
        for user in (OPERATOR, *subnets.CONTROLLERS):
            yield Case(f"{kind} creation by {user}", made(kind, ours, user=user), False)
            yield Case(f"{kind} deletion by {user}", gone(kind, ours, user=user), False)
        for what, request in {"creation": made(kind, ours, **_GLASS), "deletion": gone(kind, ours, **_GLASS)}.items():
            told = {"tenant": "shop", "break-glass": f"{what} of {KINDS[kind][2]} {plugins.name('shop-a')}"}
            yield Case(f"{kind} {what} by break-glass", request, False, told)
        unmarked = changed(kind, ours, UNMARKED, **_GLASS)
        told = {"tenant": "shop", "break-glass": f"metadata.labels of {KINDS[kind][2]} {plugins.name('shop-a')}"}
        yield Case(f"{kind} unmarked by break-glass", unmarked, False, told)
        yield Case(f"{kind} by another group", gone(kind, ours, groups=(f"{BREAK_GLASS}2",)), True)
