"""A metric family as data: what a control declares of its figures, and the exposition shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

# The values of a family's labels, `tenant` left out, in the order of `Family.labels`.
Labels: TypeAlias = tuple[str, ...]
# What there is to show of one tenant: by the family's name, by the values of its labels.
Samples: TypeAlias = Mapping[str, Mapping[Labels, float]]


@dataclass(frozen=True, slots=True)
class Family:
    """Series of each tenant under one name. Their first label is `tenant`; `labels` are the others.

    `zeros`: the label values that are shown at 0 where a tenant has no sample of them.
    """

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...] = ()
    zeros: tuple[Labels, ...] = ()
