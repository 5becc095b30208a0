"""What a tenant may show of its workloads beyond the cluster: the section `exposure` of the spec.

Values travel to the admission policies as those of `workloads` do: none contains "," or ";", or begins with "=".
"""

from typing import Annotated

from pydantic import Field

from securetenant.api.constraints import SpecModel, Text, Unique
from securetenant.api.types import SUBDOMAIN, LabelKey

HostPattern = Annotated[
    str,
    Text(
        rf"(\*\.)?{SUBDOMAIN}",
        'a host name in lower case, or one with "*" in the place of its first label, as "*.payments.bank.example"',
        253,
    ),
]
Hosts = Annotated[list[HostPattern], Field(max_length=64), Unique()]
IngressClassName = Annotated[str, Text(SUBDOMAIN, 'the name of an IngressClass, as "internal"', 253)]
GatewayName = Annotated[
    str,
    Text(
        rf"[a-z0-9]([-a-z0-9]{{0,61}}[a-z0-9])?/{SUBDOMAIN}",
        'a Gateway with its namespace, as "infra/internal"',
        317,
    ),
]


class Ingress(SpecModel):
    """Where requests from outside may come in: Ingresses, and routes of the Gateway API. Not given: nowhere."""

    tls_required: bool = Field(
        True, description="Whether each host of an Ingress must be served by TLS. Default: true."
    )
    hosts: Hosts = Field(
        default_factory=list,
        description="Hosts of Ingresses and routes; `*` stands for one label. Of two tenants the older holds a host. "
        "Default: none.",
    )
    classes: Annotated[list[IngressClassName], Field(max_length=16), Unique()] = Field(
        default_factory=list, description="IngressClasses of which an Ingress must have one. Default: none."
    )
    gateways: Annotated[list[GatewayName], Field(max_length=16), Unique()] = Field(
        default_factory=list,
        description="Gateways and ListenerSets that routes may attach to, as namespace/name; of the tenant's own "
        "namespaces also those that it may make. Default: none.",
    )


class Exposure(SpecModel):
    """What Services, Ingresses and routes may open to the outside. Not given: nothing."""

    node_ports: bool = Field(False, description="Whether Services may take ports of the nodes. Default: false.")
    load_balancers: bool = Field(False, description="Whether Services may be of type LoadBalancer. Default: false.")
    load_balancer_classes: Annotated[list[LabelKey], Field(max_length=16), Unique()] = Field(
        default_factory=list,
        description="Values of loadBalancerClass that they may have. Default: none, so the cluster's own only.",
    )
    external_ips: bool = Field(
        False, alias="externalIPs", description="Whether Services may have externalIPs. Default: false."
    )
    external_names: Annotated[list[HostPattern], Field(max_length=32), Unique()] = Field(
        default_factory=list,
        description="Names that Services of type ExternalName may stand for; `*` stands for one label. Default: none.",
    )
    manual_endpoints: bool = Field(
        False,
        description="Whether Services may be without selector, and Endpoints and EndpointSlices written by others "
        "than Kubernetes' controllers. Default: false.",
    )
    ingress: Ingress = Field(default=Ingress(), description="Ingresses, and routes of the Gateway API.")
