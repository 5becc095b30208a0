"""Merges what several controls want in one object, before it is judged."""

from collections.abc import Iterable
from dataclasses import replace

from securetenant.model.objects import Desired, Ref


def merged(desired: Iterable[Desired]) -> list[Desired]:
    """One value for each object, in the order in which the objects first appear.

    Several controls may want something only in an object that others write too (a Namespace, a Node), and each of them
    different fields. Raises ValueError where two want the same field: a bug in the controls.
    """
    found: dict[Ref, Desired] = {}
    for want in desired:
        before = found.get(want.ref)
        found[want.ref] = want if before is None else _joined(before, want)
    return list(found.values())


def _joined(one: Desired, other: Desired) -> Desired:
    if not one.is_shared:
        raise ValueError(f"{one.ref}: the controls {one.control} and {other.control} both want it, and whole")
    for mine, theirs in ((one.labels, other.labels), (one.annotations, other.annotations), (one.body, other.body)):
        if both := sorted(mine.keys() & theirs.keys()):
            raise ValueError(f"{one.ref}: the controls {one.control} and {other.control} both want {both[0]}")
    return replace(
        one,
        labels={**one.labels, **other.labels},
        annotations={**one.annotations, **other.annotations},
        body={**one.body, **other.body},
        closing=one.closing or other.closing,
        absent={**one.absent, **other.absent},
        waits=one.waits or other.waits,
        parts=(*(one.parts or (one,)), other),
    )


def control_at(want: Desired, path: str) -> str:
    """The control that wants the field at `path`, a path as from `judge.difference`."""
    section, _, key = path.partition(".")
    for part in want.parts:
        fields = {"labels": part.labels, "annotations": part.annotations}.get(section, part.body)
        if (key if section in ("labels", "annotations") else section) in fields or key in part.absent:
            return part.control
    return want.control
