"""Readings of policies of other kinds as text, and what they select."""

from collections.abc import Mapping
from typing import Final

from securetenant.controls.network.foreign import reading
from securetenant.controls.network.foreign.reading import Reading
from securetenant.sets.matching import Truth

PLACE: Final = "kubernetes.io/metadata.name"
PROD: Final = {PLACE: "a", "env": "prod"}


def told(found: Reading) -> str:
    pods = ", ".join(part.pods for part in found.parts)
    return f"{found.about or '-'} | {pods} | {reading.told(found.parts)}"


def selects(found: Reading, name: str = "a", labels: Mapping[str, str] = PROD) -> Truth:
    (part,) = found.parts
    return part.selects(name, labels)
