"""What Services, Endpoints, Ingresses and routes may not open, and the parameters from `spec.exposure`.

A pattern of hosts covers one label with its `*`, as an Ingress does: `*.a.b` covers `x.a.b`, and neither `a.b` nor
`x.y.a.b`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from securetenant.api.exposure import Exposure
from securetenant.api.tenant import SecureTenant
from securetenant.checks import gateway_api
from securetenant.checks.accounts import CONTROLLER_MANAGER
from securetenant.checks.check import Check, CheckSet, Parameter
from securetenant.checks.targets import (
    INGRESS_CLASS,
    INGRESS_HOSTS,
    PUBLISHED_HOSTS,
    SERVER_SNIPPETS,
    TLS_REDIRECT,
)

NAME: Final = "exposure"

#: Who writes Endpoints and EndpointSlices of Services with a selector.
CONTROLLERS: Final = (
    "system:serviceaccount:kube-system:endpoint-controller",
    "system:serviceaccount:kube-system:endpointslice-controller",
    "system:serviceaccount:kube-system:endpointslicemirroring-controller",
    CONTROLLER_MANAGER,
)


def _allowed(name: str, is_allowed: Callable[[Exposure], bool]) -> Parameter:
    return Parameter(name, lambda tenant, namespace: ("allowed",) if is_allowed(tenant.spec.exposure) else ())


def _listed(name: str, values: Callable[[Exposure], Iterable[str]]) -> Parameter:
    return Parameter(name, lambda tenant, namespace: values(tenant.spec.exposure))


def _gateways(tenant: SecureTenant, namespace: str) -> Iterator[str]:
    """Each as a reference from this namespace may name it: one of its own also as "./name"."""
    for one in tenant.spec.exposure.ingress.gateways:
        yield one
        place, _, name = one.partition("/")
        if place == namespace:
            yield f"./{name}"


def _covered(host: str, patterns: str) -> str:
    """CEL: whether one of the patterns covers a host, or is the same pattern."""
    wildcard = f"'*' + {host}.substring({host}.indexOf('.'))"
    return f"({host} in {patterns} || ({host}.indexOf('.') > 0 && {wildcard} in {patterns}))"


def _any_of(values: Sequence[str]) -> str:
    return f"[{', '.join(repr(value) for value in values)}]"


_ANNOTATIONS: Final = "variables.objectAnnotations"
_TYPE: Final = "variables.serviceType"
_HELD: Final = "none of the hosts of spec.exposure.ingress.hosts that the tenant holds"

# What the annotation names, a comma between each: a "*" there stands for any number of labels, and a "~" would begin a
# regular expression.
_NAMES_ONLY: Final = f"{_ANNOTATIONS}[k].matches('^[-a-z0-9, .]*$')"
_OTHERS_NAMED: Final = (
    f".filter(k, k in {_ANNOTATIONS} && !({_NAMES_ONLY} && {_ANNOTATIONS}[k].split(',')"
    f".all(h, h.trim() == '' || {_covered('h.trim()', 'variables.hosts')}))).map(k, 'annotation ' + k)"
)

_SERVICES: Final = (
    Check(
        "nodePorts",
        f"variables.nodePorts.size() > 0 ? [] : {_TYPE} == 'NodePort' ? ['spec.type'] : {_TYPE} == 'LoadBalancer' ? "
        "(object.spec.?allocateLoadBalancerNodePorts.orValue(true) ? ['spec.allocateLoadBalancerNodePorts'] : "
        "object.spec.?ports.orValue([]).filter(p, p.?nodePort.orValue(0) != 0).map(p, 'port ' + string(p.port))) : []",
        "the Service would take a port of every node: use type ClusterIP with an Ingress, or for a LoadBalancer set "
        "allocateLoadBalancerNodePorts to false and remove nodePort",
        "High",
        ("MTB-PL1-BC-HI-1",),
        target="services",
    ),
    Check(
        "loadBalancers",
        f"variables.loadBalancers.size() == 0 && {_TYPE} == 'LoadBalancer' ? ['spec.type'] : []",
        "load balancers are not for this tenant (spec.exposure.loadBalancers of the SecureTenant): use type ClusterIP "
        "with an Ingress",
        "High",
        target="services",
    ),
    Check(
        "loadBalancerClasses",
        "object.spec.?loadBalancerClass.orValue('') in variables.loadBalancerClasses + [''] ? [] : "
        "['spec.loadBalancerClass']",
        "the class of the load balancer is none of spec.exposure.loadBalancerClasses of the SecureTenant: use one of "
        "them, or remove the field",
        "High",
        target="services",
    ),
    Check(
        "externalIPs",
        "variables.externalIPs.size() > 0 || object.spec.?externalIPs.orValue([]).size() == 0 ? [] : "
        "['spec.externalIPs']",
        "externalIPs draw the traffic to any address into the Service, another tenant's included (CVE-2020-8554): "
        "remove the field",
        "Critical",
        target="services",
    ),
    Check(
        "externalNames",
        f"{_TYPE} != 'ExternalName' || {_covered('variables.externalName', 'variables.externalNames')} ? [] : "
        "['spec.externalName']",
        "the name that the Service stands for is none of spec.exposure.externalNames of the SecureTenant: use one of "
        "them, or let clients call it by its own name",
        "High",
        target="services",
    ),
    Check(
        "selectors",
        f"variables.manualEndpoints.size() > 0 || {_TYPE} == 'ExternalName' || "
        "object.spec.?selector.orValue({}).size() > 0 ? [] : ['spec.selector']",
        "the endpoints of a Service without selector are written by hand, with any address (CVE-2021-25740): write a "
        "selector",
        "High",
        target="services",
    ),
    Check(
        "dnsNames",
        f"{_any_of(PUBLISHED_HOSTS)}{_OTHERS_NAMED}",
        f"the name would be published in DNS, and is {_HELD}: use one of them, without a wildcard",
        "High",
        exemptible=False,
        target="services",
    ),
)
_ENDPOINTS: Final = (
    Check(
        "endpoints",
        f"variables.manualEndpoints.size() > 0 || request.userInfo.username in {_any_of(CONTROLLERS)} ? [] : "
        "(object.?endpoints.orValue([]).size() > 0 ? ['endpoints'] : []) + "
        "(object.?subsets.orValue([]).exists(s, s.?addresses.orValue([]).size() > 0 || "
        "s.?notReadyAddresses.orValue([]).size() > 0) ? ['subsets'] : [])",
        "endpoints that are written by hand lead load balancers and ingress controllers to any address, another "
        "tenant's included (CVE-2021-25740): remove the object, and write a selector in the Service",
        "High",
        target="endpoints",
    ),
)
_IS_INGRESS: Final = "variables.kind == 'Ingress'"
_TLS: Final = "variables.ingressTls"
_ROUTES: Final = (
    Check(
        "hosts",
        f"({_IS_INGRESS} && has(object.spec.defaultBackend) ? ['spec.defaultBackend'] : []) + "
        # To the Gateway API "*.a.b" is any number of labels.
        f"variables.routedHosts.filter(h, !{_covered('h', 'variables.hosts')} || (!({_IS_INGRESS}) && "
        "h.startsWith('*'))).map(h, h == '' ? 'any host' : 'host ' + h) + "
        f"({_TLS}.exists(t, t.?hosts.orValue([]).exists(h, !{_covered('h', 'variables.hosts')})) "
        "? ['spec.tls'] : []) + "
        f"{_any_of(INGRESS_HOSTS)}{_OTHERS_NAMED}",
        f"the host is {_HELD}: write one of them; a route takes no wildcard, an Ingress no defaultBackend",
        "Critical",
        exemptible=False,
        target="routes",
    ),
    Check(
        "tls",
        f"variables.plainHttp.size() > 0 || !({_IS_INGRESS}) ? [] : "
        f"variables.routedHosts.filter(h, !{_TLS}.exists(t, {_covered('h', 't.?hosts.orValue([])')}))"
        ".map(h, h == '' ? 'any host' : 'host ' + h) + "
        f"({_ANNOTATIONS}[?'{TLS_REDIRECT}'].orValue('true') == 'true' ? [] : ['annotation {TLS_REDIRECT}'])",
        "the host is served without TLS: write it into the hosts of spec.tls, and leave the redirect to HTTPS on",
        "High",
        target="routes",
    ),
    Check(
        "classes",
        f"!({_IS_INGRESS}) ? [] : ('{INGRESS_CLASS}' in {_ANNOTATIONS} ? "
        f"({_ANNOTATIONS}['{INGRESS_CLASS}'] in variables.classes ? [] : ['annotation {INGRESS_CLASS}']) : "
        "has(object.spec.ingressClassName) ? [] : ['spec.ingressClassName']) + "
        "(!has(object.spec.ingressClassName) || object.spec.ingressClassName in variables.classes ? [] : "
        "['spec.ingressClassName'])",
        "the class of the Ingress is none of spec.exposure.ingress.classes of the SecureTenant: set ingressClassName "
        "to one of them",
        "High",
        target="routes",
    ),
    Check(
        "gateways",
        "variables.parents.filter(p, !(p.of in variables.gateways)).map(p, p.at)",
        "the Gateway is none of spec.exposure.ingress.gateways of the SecureTenant: attach the route to one of them; a "
        "Gateway or ListenerSet of the tenant's own must be listed too",
        "High",
        target="routes",
    ),
    Check(
        "snippets",
        f"{_ANNOTATIONS}.filter(k, {SERVER_SNIPPETS}).map(k, 'annotation ' + k)",
        "the annotation writes into the configuration of the ingress controller, which serves other tenants and reads "
        "their Secrets (CVE-2021-25742): remove it",
        "Critical",
        ("CIS-1.12 5.1.2",),
        target="routes",
    ),
)

_PARENT: Final = (
    f"p.?group.orValue('{gateway_api.GROUP}') in {_any_of([gateway_api.GROUP, gateway_api.EXPERIMENTAL])} && "
    f"p.?kind.orValue('Gateway') in {_any_of(gateway_api.PARENTS)}"
)
_NAMED: Final = "p.?namespace.orValue('.') + '/' + p.?name.orValue('')"

CHECKS: Final = CheckSet(
    control=NAME,
    parameters=(
        _allowed("nodePorts", lambda e: e.node_ports),
        _allowed("loadBalancers", lambda e: e.load_balancers),
        _listed("loadBalancerClasses", lambda e: e.load_balancer_classes),
        _allowed("externalIPs", lambda e: e.external_ips),
        _listed("externalNames", lambda e: e.external_names),
        _allowed("manualEndpoints", lambda e: e.manual_endpoints),
        _allowed("plainHttp", lambda e: not e.ingress.tls_required),
        _listed("hosts", lambda e: e.ingress.hosts),
        _listed("classes", lambda e: e.ingress.classes),
        Parameter("gateways", _gateways),
    ),
    variables={
        "kind": "object.?kind.orValue('')",
        "objectAnnotations": "object.metadata.?annotations.orValue({})",
        "serviceType": "object.spec.?type.orValue('ClusterIP')",
        # It may end in a dot, which says that it is complete.
        "externalName": "object.spec.?externalName.orValue('').endsWith('.') ? "
        "object.spec.externalName.substring(0, object.spec.externalName.size() - 1) : "
        "object.spec.?externalName.orValue('')",
        "ingressTls": f"{_IS_INGRESS} ? object.spec.?tls.orValue([]) : []",
        # "" is any host.
        "routedHosts": f"{_IS_INGRESS} ? object.spec.?rules.orValue([]).map(r, r.?host.orValue('')) : "
        f"variables.kind in {_any_of(gateway_api.WITH_HOSTS)} ? "
        "(object.spec.?hostnames.orValue([]).size() > 0 ? object.spec.hostnames : ['']) : []",
        # What is attached to, and where that stands. "./a" is the Gateway a of the own namespace.
        "parents": f"{_IS_INGRESS} ? [] : variables.kind in {_any_of(gateway_api.PARENTS)} ? "
        "[{'at': 'metadata.name', 'of': './' + object.metadata.?name.orValue('')}] : "
        f"object.spec.?parentRefs.orValue([]).map(p, {{'at': 'parent ' + {_NAMED}, "
        f"'of': {_PARENT} ? {_NAMED} : ''}})",
    },
    checks=(*_SERVICES, *_ENDPOINTS, *_ROUTES),
)
