"""Which volumes a tenant's workloads may claim: the section `storage` of the spec."""

from typing import Annotated

from pydantic import Field

from securetenant.api.constraints import SpecModel, Text, Unique
from securetenant.api.types import SUBDOMAIN
from securetenant.api.workloads import ClassName

StorageClassName = Annotated[
    str, Text(rf"({SUBDOMAIN})?", 'the name of a StorageClass, as "encrypted-ssd", or "" for none', 253)
]


class Storage(SpecModel):
    """Which volumes may be claimed. What picks a volume, or reads another namespace's, is never allowed."""

    classes: Annotated[list[StorageClassName], Field(min_length=1, max_length=32), Unique()] | None = Field(
        None,
        description='StorageClasses that claims may name; "": claims without a class too, which take volumes that '
        "somebody made by hand. Default: any class, but not none.",
    )
    volume_attributes_classes: Annotated[list[ClassName], Field(max_length=32), Unique()] = Field(
        default_factory=list, description="VolumeAttributesClasses that claims may name. Default: none."
    )
