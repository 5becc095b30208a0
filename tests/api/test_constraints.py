"""Rules that tie the fields of a model together."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from securetenant.api.constraints import SpecModel
from securetenant.api.subnets import SubnetPool
from securetenant.api.templates import NetworkTemplate
from securetenant.api.tenant import SecureTenant
from tests.support import shelf

SPEC = yaml.safe_load(
    """
    namespaces: [{name: shop, subnet: {cidr: 10.60.0.0/24}}]
    access: {bindings: [{role: Viewer, subjects: [{kind: User, name: alice}]}]}
    network:
      ingress:
      - name: books
        from: [{tenant: ledger, pods: {matchExpressions: [{key: app, operator: In, values: [web]}]}}]
        ports: [{protocol: TCP, port: 80}]
      templates: [{template: web, parameters: [{name: port, port: 80}]}]
    limits: {container: {max: {cpu: "1"}}}
    exemptions: [{control: runtime, check: hostPorts, namespace: shop, reason: r, expires: "2027-01-01T00:00:00Z"}]
    """
)


TEMPLATE = yaml.safe_load(
    """
    parameters: [{name: port, type: Port, default: {port: 80}}]
    ingress: [{name: edge, to: {pods: {}}, from: [{cidr: 10.0.0.0/8}], ports: [{portFrom: port}]}]
    """
)


def models(base: type[SpecModel] = SpecModel) -> Iterator[type[SpecModel]]:
    for model in base.__subclasses__():
        yield model
        yield from models(model)


def test_each_rule_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of models within models, too: pydantic asks a model for its schema at more than one level."""
    judged: Counter[str] = Counter()
    rules = {f"{model.__name__}: {rule.message}": rule for model in models() for rule in model.RULES}
    for named, rule in rules.items():

        def holds(value: Any, named: str = named, holds: Callable[[Any], bool] = rule.holds) -> bool:
            judged[named] += 1
            return holds(value)

        monkeypatch.setattr(rule, "holds", holds)
    SecureTenant.model_validate({"metadata": {"name": "pay"}, "spec": SPEC})
    shelf.Shelf.model_validate(shelf.document("oak", boards=3))
    SubnetPool.model_validate({"metadata": {"name": "prod"}, "spec": {"cidrs": ["10.60.0.0/16"]}})
    NetworkTemplate.model_validate({"metadata": {"name": "web"}, "spec": TEMPLATE})
    assert judged == dict.fromkeys(rules, 1)
