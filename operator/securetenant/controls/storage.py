"""storage: which volumes a tenant's pods may claim. Checked at admission; nothing is written but the parameters on the
namespace.

The checks are about a claim, and about the templates that claims are made from: in a pod (generic ephemeral volumes)
and in a StatefulSet. A claim that stands is judged by what changes: it can be bound, enlarged and deleted, whatever it
was created with. Whether a class encrypts cannot be judged by a rule on claims: it is in the parameters of the class,
in another form for each driver. The classes that do so are what `classes` is to name.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from securetenant.api.tenant import SecureTenant
from securetenant.checks.check import Check, CheckSet, Parameter
from securetenant.checks.targets import CLASS_ANNOTATION
from securetenant.controls import ownership
from securetenant.controls.control import Control, Plan
from securetenant.controls.parameters import on_namespaces
from securetenant.controls.world import World
from securetenant.model.kinds import NAMESPACE

NAME: Final = "storage"


def _classes(tenant: SecureTenant, namespace: str) -> Iterator[str]:
    classes = tenant.spec.storage.classes
    yield from ("*",) if classes is None else filter(None, classes)


def _classless(tenant: SecureTenant, namespace: str) -> Iterator[str]:
    if "" in (tenant.spec.storage.classes or ()):
        yield "allowed"


def _attributes_classes(tenant: SecureTenant, namespace: str) -> Iterator[str]:
    yield from tenant.spec.storage.volume_attributes_classes


# The classes of some claims, each with where it is written: {"name": "gold", "at": "spec.storageClassName gold"}. Where
# the annotation is, it counts, even if it is empty; the field is judged all the same, since the annotation can be taken
# off.
_CLASSES: Final = (
    "variables.{0}.map(c, has(c.spec.storageClassName), {{'name': dyn(c.spec.storageClassName), "
    "'at': dyn(c.field + 'storageClassName \"' + c.spec.storageClassName + '\"' + c.end)}}) + "
    "variables.{0}.map(c, '{1}' in c.annotations, {{'name': dyn(c.annotations['{1}']), "
    "'at': dyn(c.start + 'annotation {1} \"' + c.annotations['{1}'] + '\"' + c.end)}}) + "
    # Kubernetes binds a claim that says nothing as one of no class, until there is a default class.
    "variables.{0}.map(c, variables.completed && !has(c.spec.storageClassName) && !('{1}' in c.annotations), "
    "{{'name': dyn(''), 'at': dyn(c.field + 'storageClassName' + c.end)}})"
)
_ALLOWED: Final = (
    "c.name == '' ? variables.classlessClaims.size() > 0 : "
    "variables.storageClasses == ['*'] || c.name in variables.storageClasses"
)
_VOLUME: Final = "c.spec.?volumeName.orValue('')"
_ATTRIBUTES: Final = "c.spec.?volumeAttributesClassName.orValue('')"

CHECKS: Final = CheckSet(
    control=NAME,
    parameters=(
        Parameter("storageClasses", _classes),
        Parameter("classlessClaims", _classless),
        Parameter("attributesClasses", _attributes_classes),
    ),
    variables={
        "claimClasses": _CLASSES.format("claims", CLASS_ANNOTATION),
        "stoodClasses": _CLASSES.format("stood", CLASS_ANNOTATION),
    },
    checks=(
        Check(
            "classes",
            f"variables.claimClasses.map(c, !({_ALLOWED}) && !variables.stoodClasses.exists(s, s.name == c.name), "
            "c.at)",
            "the storage class is none that spec.storage.classes of the SecureTenant allows: set storageClassName to "
            "one of them",
            "High",
            target="claims",
            also=("pods",),
        ),
        Check(
            "chosenVolume",
            # Kubernetes writes volumeName when it binds the claim; once written, nobody changes it. A selector never
            # changes.
            f"variables.claims.map(c, {_VOLUME} != '' && !variables.binding && "
            f"(variables.creating || variables.stood.filter(s, s.spec.?volumeName.orValue('') == '').size() > 0), "
            "c.field + 'volumeName' + c.end) + "
            "variables.claims.map(c, has(c.spec.selector) && variables.stood.size() == 0, "
            "c.field + 'selector' + c.end)",
            "the claim picks its PersistentVolume itself, which may be meant for another tenant: remove volumeName and "
            "selector, so that its class gives it one",
            "High",
            target="claims",
            also=("pods",),
        ),
        Check(
            "dataSource",
            "variables.claims.map(c, c.spec.?dataSourceRef.?namespace.orValue('') != '' && "
            "variables.stood.size() == 0, c.field + 'dataSourceRef' + c.end)",
            "the claim copies what is in a namespace that it names: remove dataSourceRef.namespace, and copy from its "
            "own",
            "High",
            exemptible=False,
            target="claims",
            also=("pods",),
        ),
        Check(
            "attributesClass",
            f"variables.claims.map(c, !({_ATTRIBUTES} in variables.attributesClasses + ['']) && "
            f"!variables.stood.exists(s, s.spec.?volumeAttributesClassName.orValue('') == {_ATTRIBUTES}), "
            f"c.field + 'volumeAttributesClassName ' + {_ATTRIBUTES} + c.end)",
            "the VolumeAttributesClass is none of spec.storage.volumeAttributesClasses of the SecureTenant: remove "
            "volumeAttributesClassName",
            "Medium",
            target="claims",
            also=("pods",),
        ),
    ),
)  # fmt: skip


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    return Plan(desired=list(on_namespaces(CHECKS, tenant, ownership.held(tenant, world))))


def ending(tenant: SecureTenant, now: datetime) -> list[str]:
    return ["the checks of storage"]


CONTROL: Final = Control(NAME, plan, (NAMESPACE,), checks=CHECKS, ending=ending)
