"""docs/controls/network.md, beside what test_reference.py has for each control: the NetworkTemplate."""

import re

from securetenant.api.crd import documented_schema
from securetenant.api.definitions import TEMPLATE
from tests.docs.test_reference import DOCS, default, fields
from tests.support.markdown import code, table


def test_fields_of_a_template_are_told_with_their_defaults() -> None:
    every = {path: default(inner) for path, inner in fields(documented_schema(TEMPLATE), "spec")}
    told = {
        code(row[0])[0]: row[1] for row in table(DOCS / "controls" / "network.md", "field of a template", "default")
    }
    assert told == {path: value for path, value in every.items() if not path.startswith("spec.egress[]")}
    mirrored = {
        re.sub(
            r"\.(to|from)\b", lambda end: {".to": ".from", ".from": ".to"}[end[0]], path.replace("ingress", "egress")
        )
        for path in every
        if path.startswith("spec.ingress[]")
    }
    assert mirrored == {path for path in every if path.startswith("spec.egress[]")}
