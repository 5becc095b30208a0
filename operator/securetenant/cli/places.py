"""Where in a workload something was found: the places that checks name, as paths of fields."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from securetenant.checks.targets import WORKLOADS
from securetenant.cli.parsing import Place

# Where the pod is in each kind of object that has one.
_PODS: Final[Mapping[str, Place]] = {
    **dict.fromkeys((kind for _, kind in WORKLOADS.kinds), ("spec", "template")),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}

# The places that checks find: "container web (nginx)", "volume data", "annotation example.com/a".
_PLACE: Final = re.compile(r"(container|volume|volumeClaimTemplate|annotation) (\S+)( .*)?", re.DOTALL)
_OF_ENDPOINTS: Final = ("endpoints", "subsets")
_LISTS: Final = {"container": ("containers", "initContainers", "ephemeralContainers"), "volume": ("volumes",)}
# The fields that the messages of checks name: "securityContext.privileged", "imagePullPolicy", "image".
_FIELD: Final = re.compile(r"\b(?!spec\.)(image|[a-z]+[A-Z]\w*(?:\.\w+)*)\b")


def of_path(path: str) -> Place:
    """The place of a path like "spec.containers[0].image"."""
    steps = re.findall(r"\[(\d+)\]|\[([^\]]*)\]|([^.\[]+)", path)
    return tuple(int(index) if index else key or name for index, key, name in steps)


def is_field(place: str) -> bool:
    """Whether it is a field by itself: "spec.hostPID", "spec.tolerations (key a)", "subsets"."""
    return place.startswith(("spec.", "metadata.")) or place in _OF_ENDPOINTS


def of_finding(body: Any, place: str, message: str) -> Place:
    """Where a check found something; if its message names a field there, that field."""
    pod = _PODS.get(body["kind"], ())
    if is_field(place):
        return (*pod, *place.partition(" ")[0].split("."))
    at = _element(body, pod, place)
    value = _value(body, at)
    for name in _FIELD.findall(message):
        first, *rest = name.split(".")
        if first == "securityContext" or (isinstance(value, dict) and first in value):
            return (*at, first, *rest)
    return at


def _element(body: Any, pod: Place, place: str) -> Place:
    spec: Place = (*pod, "spec")
    if at := _exposed(body, place):
        return at
    found = _PLACE.fullmatch(place)
    if found is None:
        sysctls: Place = (*spec, "securityContext", "sysctls")
        return _named(body, sysctls, place) or spec
    kind, name = found[1], found[2]
    if kind == "annotation":
        return (*pod, "metadata", "annotations", name)
    if kind == "volumeClaimTemplate":
        templates: Place = ("spec", "volumeClaimTemplates")
        there = ((*templates, index) for index in range(len(_value(body, templates) or ())))
        return next((at for at in there if _value(body, (*at, "metadata", "name")) == name), templates)
    return next((at for key in _LISTS[kind] if (at := _named(body, (*spec, key), name))), spec)


def _exposed(body: Any, place: str) -> Place:
    """Where "host a.example", "any host", "port 80" or "parent infra/internal" is in a Service, an Ingress or a route;
    () if it is none of these."""
    kind, _, name = place.partition(" ")
    looked_at: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "host": (
            "hostnames" if "hostnames" in (body.get("spec") or ()) else "rules",
            lambda one: name in (one, _get(one, "host")),
        ),
        "any": ("rules", lambda one: not _get(one, "host")),
        "port": ("ports", lambda one: str(_get(one, "port")) == name),
        "parent": ("parentRefs", lambda one: f"{_get(one, 'namespace') or '.'}/{_get(one, 'name')}" == name),
    }
    if kind not in looked_at:
        return ()
    field, is_it = looked_at[kind]
    for index, one in enumerate(_value(body, ("spec", field)) or []):
        if is_it(one):
            return ("spec", field, index, *(["host"] if _get(one, "host") else []))
    return ("spec",)


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _named(body: Any, place: Place, name: str) -> Place:
    """The element of that name in a list; () if there is none."""
    value = _value(body, place)
    elements = value if isinstance(value, list) else []
    return next(
        ((*place, index) for index, one in enumerate(elements) if isinstance(one, dict) and one.get("name") == name), ()
    )


def _value(body: Any, place: Place) -> Any:
    for step in place:
        if isinstance(step, int):
            body = body[step] if isinstance(body, list) and step < len(body) else None
        else:
            body = body.get(step) if isinstance(body, dict) else None
    return body
