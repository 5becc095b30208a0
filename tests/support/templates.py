"""NetworkTemplates for tests: hypothesis strategies of documents, and a few that people would write."""

from typing import Any, Final

from hypothesis import strategies as st

from securetenant.api.network import FORMS
from securetenant.model import kinds, names
from securetenant.model.kinds import NETWORK_TEMPLATE
from securetenant.model.objects import Observed
from tests.support.specs import (
    NAMESPACES,
    PARAMETERS,
    PLATFORM,
    TEMPLATES,
    TENANTS,
    Document,
    cidr_peers,
    pod_selectors,
    ports,
    times,
)
from tests.support.world import observed

WEB: Final[Document] = {
    "description": "a web tier that the ingress controller reaches",
    "parameters": [
        {"name": "web", "type": "Pods", "description": "the pods that serve"},
        {"name": "port", "type": "Port", "default": {"port": 8443}},
    ],
    "ingress": [
        {
            "name": "from-edge",
            "to": {"podsFrom": "web"},
            "from": [{"namespace": "ingress-nginx", "pods": {"matchLabels": {"app": "controller"}}}],
            "ports": [{"portFrom": "port"}],
            "ticket": "CHG-100",
        }
    ],
}


def template(name: str = "web-behind-ingress", spec: Document = WEB) -> Observed:
    return observed(NETWORK_TEMPLATE, name, spec=spec)


def _values(kind: str) -> st.SearchStrategy[Any]:
    forms: dict[str, st.SearchStrategy[Any]] = {
        "Pods": pod_selectors(),
        "Port": st.integers(1, 65535),
        "Namespaces": st.lists(st.sampled_from(NAMESPACES), min_size=1, max_size=2, unique=True),
        "Namespace": st.sampled_from(PLATFORM),
        "Cidr": cidr_peers().map(lambda peer: peer["cidr"]),
        "Tenant": st.sampled_from(TENANTS),
    }
    return forms[kind]


def value(draw: st.DrawFn, kind: str) -> Document:
    """A value of a parameter of this type."""
    field = next(field for of, field in FORMS.items() if of == kind)
    return {field: draw(_values(kind))}


@st.composite
def template_specs(draw: st.DrawFn) -> Document:
    """A valid spec, of rules that name some of its parameters."""
    named = draw(st.lists(st.sampled_from(PARAMETERS), max_size=4, unique=True))
    parameters: list[Document] = []
    for name in named:
        kind = draw(st.sampled_from(tuple(FORMS)))
        has_default: bool = draw(st.booleans())
        default = {"default": value(draw, kind)} if has_default else {}
        parameters.append({"name": name, "type": kind, **default})

    def field(made: Document, name: str, kind: str, written: st.SearchStrategy[Any] | None, *, must: bool) -> None:
        """The field as it is, by a parameter, or not at all."""
        known = [one["name"] for one in parameters if one["type"] == kind]
        is_by_parameter: bool = draw(st.booleans())
        if known and is_by_parameter:
            made[f"{name}From"] = draw(st.sampled_from(known))
        elif written is not None and (must or draw(st.booleans())):
            made[name] = draw(written)

    def peer() -> Document:
        made: Document = {}
        form = draw(st.sampled_from(("tenant", "namespace", "cidr")))
        is_written: bool = draw(st.booleans())
        if form == "cidr" and is_written:
            return draw(cidr_peers())
        field(made, form, form.capitalize(), _values(form.capitalize()), must=True)
        if form == "tenant":
            field(made, "namespaces", "Namespaces", _values("Namespaces"), must=False)
        if form != "cidr":
            field(made, "pods", "Pods", pod_selectors(), must=False)
        return made

    def port() -> Document:
        made = draw(ports())
        if "endPort" not in made:
            made.pop("port", None)
            field(made, "port", "Port", _values("Port"), must=False)
        return made

    def rule(own: str, peers: str, name: str) -> Document:
        side: Document = {}
        field(side, "pods", "Pods", pod_selectors(), must=False)
        field(side, "namespaces", "Namespaces", None, must=False)
        made: Document = {"name": name, peers: [peer() for _ in range(draw(st.integers(1, 2)))]}
        is_empty: bool = draw(st.booleans())
        if side or is_empty:
            made[own] = side
        if draw(st.booleans()):
            made["ports"] = [port() for _ in range(draw(st.integers(0, 2)))]
        if draw(st.booleans()):
            made["ticket"] = "CHG-3"
        if draw(st.booleans()):
            made["expires"] = draw(times())
        return made

    made: Document = {"parameters": parameters} if parameters else {}
    both = draw(st.sampled_from((("ingress",), ("egress",), ("ingress", "egress"))))
    for direction in both:
        ends = ("to", "from") if direction == "ingress" else ("from", "to")
        rules = draw(st.lists(st.sampled_from(("a", "b")), min_size=1, max_size=2, unique=True))
        made[direction] = [rule(*ends, name) for name in rules]
    return made


@st.composite
def template_documents(draw: st.DrawFn) -> Document:
    """A valid NetworkTemplate, as people write it."""
    header = {"apiVersion": names.API_VERSION, "kind": kinds.NETWORK_TEMPLATE.name}
    return {**header, "metadata": {"name": draw(st.sampled_from(TEMPLATES))}, "spec": draw(template_specs())}
