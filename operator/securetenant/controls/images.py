"""images: where a tenant's images may come from, and how they are named. Checked at admission; nothing is written but
the parameters on the namespace."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from securetenant.api.tenant import SecureTenant
from securetenant.checks.check import Check, CheckSet, Injection, Parameter
from securetenant.controls import ownership
from securetenant.controls.control import Control, Plan
from securetenant.controls.parameters import on_namespaces
from securetenant.controls.world import World
from securetenant.model.kinds import NAMESPACE

NAME: Final = "images"


def _registries(tenant: SecureTenant, namespace: str) -> Iterator[str]:
    if tenant.spec.images is None or not tenant.spec.images.registries:
        yield "*"
    else:
        yield from tenant.spec.images.registries


def _tags(tenant: SecureTenant, namespace: str) -> Iterator[str]:
    if tenant.spec.images is None or not tenant.spec.images.digest_required:
        yield "allowed"


def _cached(tenant: SecureTenant, namespace: str) -> Iterator[str]:
    if tenant.spec.images is None or not tenant.spec.images.always_pull:
        yield "allowed"


# The grammar of github.com/distribution/reference, without upper-case hosts: what does not match is refused, so that no
# prefix is compared with something that the container runtime reads otherwise. A number of repetitions is nowhere in
# it, and the images of a pod are matched at once: cel-cpp compiles it anew each time, which takes longer than all other
# checks together.
_HOST: Final = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]+)?/"
_PATH: Final = r"[a-z0-9]+(([._/]|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = f"({_HOST})?{_PATH}(:[A-Za-z0-9_][-A-Za-z0-9_.]*)?(@sha256:[a-f0-9]+)?"
_ALL_MATCH: Final = (
    "variables.images.all(i, i.image != '' && !i.image.contains(' ')) && "
    f"variables.images.map(i, i.image).join(' ').matches('^({_REFERENCE}( |$))+$')"
)
_DIGEST: Final = len("@sha256:") + 64
_HAS_DIGEST: Final = (
    f"i.image.size() > {_DIGEST} && i.image.substring(i.image.size() - {_DIGEST}).matches('^@sha256:[a-f0-9]+$')"
)

# Each image of the pod with the place where it stands: {"image": "...", "at": "container web"}.
_IMAGES: Final = (
    "variables.containers.map(c, {'at': dyn('container ' + c.name), 'image': dyn(c.?image.orValue('')), "
    "'pull': dyn(c.?imagePullPolicy.orValue(''))}) + "
    "variables.volumes.map(v, has(v.image), {'at': dyn('volume ' + v.name), "
    "'image': dyn(v.image.?reference.orValue('')), 'pull': dyn(v.image.?pullPolicy.orValue(''))})"
)
# The same with the registry and the path written out, without the digest: nginx is docker.io/library/nginx.
_FULL: Final = (
    "variables.images.map(i, {'at': dyn(i.at + ' (' + i.image + ')'), 'full': dyn(("
    "!i.image.contains('/') ? 'docker.io/library/' + i.image : "
    "i.image.startsWith('docker.io/') || i.image.startsWith('index.docker.io/') ? "
    "(i.image.split('/').size() == 2 ? 'docker.io/library/' + i.image.split('/')[1] : "
    "'docker.io/' + i.image.substring(i.image.indexOf('/') + 1)) : "
    "i.image.split('/')[0].contains('.') || i.image.split('/')[0].contains(':') || "
    "i.image.split('/')[0] == 'localhost' ? i.image : 'docker.io/' + i.image).split('@')[0])})"
)
# The same without the tag: a ":" behind the last "/". What follows the ":" of a registry is its port.
_REPOSITORIES: Final = (
    "variables.fullImages.map(i, {'at': i.at, 'name': "
    "dyn(i.full.lastIndexOf(':') > i.full.lastIndexOf('/') ? i.full.substring(0, i.full.lastIndexOf(':')) : i.full)})"
)

# Before any policy the API server writes Always or IfNotPresent where none is given, so that an IfNotPresent of the
# author's cannot be told from that, and both become Always. Never can, and is left to be refused.
_UNSET: Final = ("", "IfNotPresent")


def _patches(items: str, path: str, policy: str) -> str:
    """CEL: the patches of those of these containers or volumes whose pull policy is not set. `policy`: CEL, that of
    the item `e`; `path`: below spec, before and behind its index."""
    before, behind = path.split("*")
    return (
        f'{items}.transformList(i, e, {policy} in ["", "IfNotPresent"], JSONPatch{{op: "add", '
        f'path: "/spec/{before}" + string(i) + "{behind}", value: "Always"}})'
    )


_OWN_POLICY: Final = 'e.?imagePullPolicy.orValue("")'
_CREATED: Final = " + ".join(
    [
        _patches("object.spec.containers", "containers/*/imagePullPolicy", _OWN_POLICY),
        _patches("object.spec.?initContainers.orValue([])", "initContainers/*/imagePullPolicy", _OWN_POLICY),
        _patches(
            "object.spec.?volumes.orValue([])",
            "volumes/*/image/pullPolicy",
            'has(e.image) && e.image.?pullPolicy.orValue("")',
        ),
    ]
)


# Those that stood before cannot be changed any more.
_ADDED: Final = _patches(
    "object.spec.?ephemeralContainers.orValue([])",
    "ephemeralContainers/*/imagePullPolicy",
    "!oldObject.spec.?ephemeralContainers.orValue([]).exists(o, o.name == e.name) && " + _OWN_POLICY,
)


def _pulled(pod: Mapping[str, Any], parameters: Mapping[str, Sequence[str]]) -> Mapping[str, Any]:
    if parameters["cachedImages"]:
        return pod
    spec = dict(pod["spec"])
    for name in ("containers", "initContainers"):
        if spec.get(name):
            spec[name] = [_always(container, "imagePullPolicy") for container in spec[name]]
    if spec.get("volumes"):
        spec["volumes"] = [
            {**volume, "image": _always(volume["image"], "pullPolicy")} if volume.get("image") is not None else volume
            for volume in spec["volumes"]
        ]
    return {**pod, "spec": spec}


def _always(item: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    return {**item, field: "Always"} if (item.get(field) or "") in _UNSET else item


CHECKS: Final = CheckSet(
    control=NAME,
    parameters=(
        Parameter("registries", _registries),
        Parameter("tags", _tags),
        Parameter("cachedImages", _cached),
    ),
    variables={
        "images": _IMAGES,
        "imagesMatch": _ALL_MATCH,
        "fullImages": _FULL,
        "repositories": _REPOSITORIES,
        "registryStarts": "variables.registries.map(r, r + '/')",
    },
    checks=(
        Check(
            "reference",
            "variables.registries == ['*'] && variables.tags.size() > 0 ? [] : "
            f"variables.images.map(i, (!variables.imagesMatch && !i.image.matches('^{_REFERENCE}$')) || "
            # containerd runs what is on the node under that ID, whatever registry it came from.
            "i.image.startsWith('sha256:') || "
            f"(i.image.contains('@') && !({_HAS_DIGEST})), i.at)",
            "the image is not written as registry/path:tag@sha256:digest in lower case: write it so",
            "High",
            ("CIS-1.12 5.5.1",),
        ),
        Check(
            "registries",
            "variables.registries == ['*'] ? [] : variables.repositories.map(i, "
            "!variables.registryStarts.exists(r, (i.name + '/').startsWith(r)), i.at)",
            "the image is from none of the registries in spec.images.registries of the SecureTenant: use one of "
            "them",
            "High",
            ("CIS-1.12 5.5.1",),
        ),
        Check(
            "digest",
            "variables.tags.size() > 0 ? [] : "
            f"variables.images.map(i, !({_HAS_DIGEST}), i.at)",
            "the image is not named by its digest, so what it is may change: write @sha256:... behind it",
            "Medium",
            ("CIS-1.12 5.5.1",),
        ),
        Check(
            "pullPolicy",
            "variables.cachedImages.size() > 0 ? [] : variables.images.map(i, i.pull != 'Always' && "
            "(variables.injected || i.pull == 'Never'), i.at)",
            "imagePullPolicy is not Always, so an image that another tenant pulled onto the node would run without a "
            "right to it: set it to Always",
            "Medium",
            ("MTB-PL1-CC-DI-1",),
        ),
    ),
    injections=(
        Injection(
            "pullPolicy",
            "variables.cachedImages.size() > 0 ? [] : "
            f'request.operation == "CREATE" ? {_CREATED} : {_ADDED}',
            _pulled,
        ),
    ),
)  # fmt: skip


def plan(tenant: SecureTenant, world: World, now: datetime) -> Plan:
    return Plan(desired=list(on_namespaces(CHECKS, tenant, ownership.held(tenant, world))))


def ending(tenant: SecureTenant, now: datetime) -> list[str]:
    return ["the checks of images"] if tenant.spec.images is not None else []


CONTROL: Final = Control(NAME, plan, (NAMESPACE,), checks=CHECKS, ending=ending)
