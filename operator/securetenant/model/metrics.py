"""A metric family as data: declared by a control, shown by the exposition."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

# The values of a family's labels without `tenant`, in the order of `Family.labels`.
Labels: TypeAlias = tuple[str, ...]
# One tenant's samples: by the family's name, then by the values of its labels.
Samples: TypeAlias = Mapping[str, Mapping[Labels, float]]


@dataclass(frozen=True, slots=True)
class Family:
    """The series of all tenants with one name. Their first label is `tenant`; `labels` are the others.

    `zeros`: the label values that are exposed as 0 where a tenant has no sample for them.
    """

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...] = ()
    zeros: tuple[Labels, ...] = ()
