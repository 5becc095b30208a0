"""A manifest in the form in which the API server judges it: decoded into its types (see `decoding`), and defaulted: a
container without imagePullPolicy has one there."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from securetenant.checks.decoding import Malformed, decoded
from securetenant.checks.targets import TARGETS, WORKLOADS, Target

# Where the spec of the pod is in the kinds that have one, by kind.
_PODS: Final[Mapping[str, tuple[str, ...]]] = {
    "Pod": ("spec",),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    **dict.fromkeys((kind for _, kind in WORKLOADS.kinds if kind != "CronJob"), ("spec", "template", "spec")),
}
_TARGETS: Final = {kind: target for target in TARGETS for kind in target.kinds}

# github.com/distribution/reference with the registry written out; the tag and the digest are groups.
_LABEL: Final = "[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"
_PART: Final = "[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*"
_REFERENCE: Final = re.compile(
    rf"({_LABEL}(\.{_LABEL})*|\[[a-fA-F0-9:]+\])(:[0-9]+)?/(?P<path>{_PART}(/{_PART})*)"
    r"(:(?P<tag>\w[\w.-]{0,127}))?(@(?P<digest>sha(256:[a-f0-9]{64}|384:[a-f0-9]{96}|512:[a-f0-9]{128})))?",
    re.ASCII,
)
_IDENTIFIER: Final = re.compile("[a-f0-9]{64}")


def target_of(body: Mapping[str, Any]) -> Target | None:
    """What the object is judged as; None if no check looks at its kind."""
    return _TARGETS.get(_kind(body))


def judged(body: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The object as policies see it on its creation at `now`. Raises `Malformed`.

    Its status and its managed fields are left out. What admission plugins add (the volume with the token of the
    ServiceAccount, the priority class that is the default, tolerations) is not there.
    """
    if target_of(body) is None:
        raise Malformed("kind", "is none that checks look at")
    kind = _kind(body)[1]
    made = decoded(kind, body)
    made["metadata"]["creationTimestamp"] = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if kind in _PODS:
        _complete_pod(made, _PODS[kind], is_pod=kind == "Pod")
    return made


def _complete_pod(made: dict[str, Any], place: tuple[str, ...], *, is_pod: bool) -> None:
    """`place`: where the spec of the pod is."""
    spec = made
    for index, field in enumerate(place):
        if field not in spec:
            raise Malformed(".".join(place[: index + 1]), "is required")
        spec = spec[field]
    _required(spec, ".".join(place))
    _defaulted(spec, is_pod=is_pod)


def _kind(body: Mapping[str, Any]) -> tuple[str, str]:
    version, kind = body.get("apiVersion"), body.get("kind")
    return (version, kind) if isinstance(version, str) and isinstance(kind, str) else ("", "")


def _required(spec: Mapping[str, Any], path: str) -> None:
    """What each check rests on."""
    if not spec["containers"]:
        raise Malformed(f"{path}.containers", "is required")
    for key, container in _containers(spec):
        for field in ("name", "image"):
            if not container.get(field):
                raise Malformed(f"{path}.{key}.{field}", "is required")
    for index, volume in enumerate(spec.get("volumes", ())):
        if not volume["name"]:
            raise Malformed(f"{path}.volumes[{index}].name", "is required")


def _containers(spec: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(kind, ())):
            yield f"{kind}[{index}]", container


def _defaulted(spec: dict[str, Any], *, is_pod: bool) -> None:
    """The defaults that checks see (pkg/apis/core/v1/defaults.go)."""
    spec.setdefault("securityContext", {})
    for kind, container in _containers(spec):
        container.setdefault("imagePullPolicy", _pull_policy(container["image"]))
        if is_pod and spec.get("hostNetwork") and not kind.startswith("ephemeral"):
            for port in container.get("ports", ()):
                port.setdefault("hostPort", port["containerPort"])
    for volume in spec.get("volumes", ()):
        if len(volume) == 1:
            volume["emptyDir"] = {}
        if "image" in volume:
            volume["image"].setdefault("pullPolicy", _pull_policy(volume["image"].get("reference", "")))


def _pull_policy(image: str) -> str:
    """ "Always" for the tag "latest", written or not; what cannot be parsed has no tag."""
    found = _REFERENCE.fullmatch(_with_registry(image))
    if not found or _IDENTIFIER.fullmatch(image) or len(found["path"]) > 255:
        return "IfNotPresent"
    return "Always" if found["tag"] == "latest" or not (found["tag"] or found["digest"]) else "IfNotPresent"


def _with_registry(image: str) -> str:
    """nginx is docker.io/library/nginx."""
    first, slash, rest = image.partition("/")
    if not slash or not (first == "localhost" or first.lower() != first or "." in first or ":" in first):
        first, rest = "docker.io", image
    if first in ("docker.io", "index.docker.io") and "/" not in rest:
        rest = f"library/{rest}"
    return f"{first}/{rest}"
