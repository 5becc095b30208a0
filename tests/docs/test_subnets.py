"""docs/controls/subnets.md, beside what test_reference.py has for each control: the SubnetPool, and the component."""

from securetenant.api.crd import documented_schema
from securetenant.api.definitions import POOL
from tests.docs.test_reference import DOCS, default, fields, rules
from tests.support.markdown import code, table


def test_fields_of_a_pool_are_told_with_their_defaults() -> None:
    every = dict(fields(documented_schema(POOL), "spec"))
    told = {code(row[0])[0]: row[1] for row in table(DOCS / "controls" / "subnets.md", "field of a pool", "default")}
    assert told == {path: default(inner) for path, inner in every.items()}


def test_the_subnets_component() -> None:
    written = frozenset({"get", "create", "patch", "delete"})
    assert rules("components/subnets/role.yaml") == [
        ("", frozenset({plural}), written) for plural in ("subnets", "ippools", "ciliumpodippools")
    ]
