"""The kinds of the Gateway API that checks look at. They are custom resources: a cluster need not have them."""

from collections.abc import Mapping
from typing import Final

GROUP: Final = "gateway.networking.k8s.io"
EXPERIMENTAL: Final = "gateway.networking.x-k8s.io"
#: The routes that name hosts; TCPRoute and UDPRoute have none.
WITH_HOSTS: Final = ("HTTPRoute", "GRPCRoute", "TLSRoute")
ROUTES: Final = (*WITH_HOSTS, "TCPRoute", "UDPRoute")
#: What routes attach to.
PARENTS: Final = ("Gateway", "ListenerSet", "XListenerSet")
KINDS: Final = (
    *((f"{GROUP}/{version}", kind) for version in ("v1", "v1beta1", "v1alpha2", "v1alpha3") for kind in ROUTES),
    *((f"{GROUP}/{version}", kind) for version in ("v1", "v1beta1") for kind in PARENTS[:2]),
    (f"{EXPERIMENTAL}/v1alpha1", "XListenerSet"),
)
RESOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    GROUP: ("httproutes", "grpcroutes", "tlsroutes", "tcproutes", "udproutes", "gateways", "listenersets"),
    EXPERIMENTAL: ("xlistenersets",),
}

_OBJECT: Final = {"kind": "string", "apiVersion": "string", "metadata": "ObjectMeta!"}
#: Their fields that checks read, in the form of `types.json`. The schemas are the same in all versions.
TYPES: Final[Mapping[str, Mapping[str, str]]] = {
    **{kind: {**_OBJECT, "spec": "GatewayRouteSpec!"} for kind in ROUTES},
    **{kind: {**_OBJECT, "spec": "GatewayParentSpec!"} for kind in PARENTS},
    "GatewayRouteSpec": {"parentRefs": "[]GatewayParentReference", "hostnames": "[]string"},
    "GatewayParentReference": {"group": "*string", "kind": "*string", "namespace": "*string", "name": "string!"},
    "GatewayParentSpec": {},
}
