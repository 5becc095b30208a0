"""The CustomResourceDefinition, generated from the models.

`python -m securetenant.api.crd` writes it below `crds/` of the working directory; with `--check` it compares
instead, and exits with 1 if the file is not up to date.
"""

import argparse
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from securetenant.api.constraints import RULES_KEY, Rule
from securetenant.api.status import SecureTenantStatus
from securetenant.api.tenant import SecureTenantSpec
from securetenant.api.types import is_tenant_name, tenant_name_pattern
from securetenant.model import names
from securetenant.model.kinds import SECURE_TENANT

CRD_NAME: Final = f"{SECURE_TENANT.plural}.{names.GROUP}"
PATH: Final = Path("crds") / f"{CRD_NAME}.yaml"

Schema = dict[str, Any]

# What a structural schema may say (apiextensions.k8s.io/v1 JSONSchemaProps), in the order in which it is written.
_KEPT: Final = (
    *("description", "type", "format", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum"),
    *("minItems", "maxItems", "minProperties", "maxProperties", "default", "required"),
)
_NAME_RULE: Final = Rule(
    f"self.metadata.name.matches('{tenant_name_pattern}')",
    'the name of a SecureTenant is a DNS label: lower-case letters, digits and "-", at most 40 characters; rename it',
    lambda tenant: is_tenant_name(tenant.metadata.name),
)
_COLUMNS: Final = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether the posture is in place."),
    ("Mode", "string", ".spec.mode", "Enforce, Audit or Paused."),
    ("Namespaces", "integer", ".status.namespaceCount", "How many namespaces the tenant declares."),
    ("Drift", "integer", ".status.drift.total", "How many objects are not as they must be."),
    ("Age", "date", ".metadata.creationTimestamp", "Since when the tenant exists."),
)


@cache
def definition(
    status: type[SecureTenantStatus] = SecureTenantStatus, spec: type[SecureTenantSpec] = SecureTenantSpec
) -> Schema:
    """The whole CustomResourceDefinition; `status` and `spec` are the models of the whole. Cached: not to be changed by
    the caller."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD_NAME},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": SECURE_TENANT.plural,
                "singular": names.KIND.lower(),
                "shortNames": ["stn"],
                "categories": ["securetenant"],
            },
            "scope": "Cluster",
            "versions": [
                {
                    "name": names.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "description": text}
                        for name, kind, path, text in _COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": _root(status, spec)},
                }
            ],
        },
    }


def _root(status: type[SecureTenantStatus], spec: type[SecureTenantSpec]) -> Schema:
    return {
        "description": "A tenant: the posture that a platform team declares, and what was found of it.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec_schema(spec),
            "status": _status_schema(status),
        },
        RULES_KEY: [_NAME_RULE.kubernetes()],
    }


@cache
def spec_schema(spec: type[SecureTenantSpec] = SecureTenantSpec) -> Schema:
    """The structural schema of the spec. Cached: not to be changed by the caller."""
    return _bare_lists(documented_schema(spec))


@cache
def documented_schema(spec: type[SecureTenantSpec] = SecureTenantSpec) -> Schema:
    """The same with all defaults that the models fill in. Cached: not to be changed by the caller."""
    return _of(spec)


def _status_schema(status: type[SecureTenantStatus]) -> Schema:
    schema = _without_defaults(_of(status))
    schema["properties"]["namespaceCount"] = {"type": "integer", "description": "How many namespaces stand below."}
    schema["properties"]["conditions"] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    return schema


def _bare_lists(schema: Schema) -> Schema:
    made = dict(schema)
    if "items" in schema:
        made["items"] = _without_defaults(schema["items"])
    if "properties" in schema:
        made["properties"] = {key: _bare_lists(value) for key, value in schema["properties"].items()}
    return made


def _without_defaults(schema: Schema) -> Schema:
    """Where the server must add nothing: in the status, which the operator alone writes, and within lists, which
    appliers replace whole. What the server had added there would be a difference to them each time (`kubectl apply`
    says "configured" for ever) or a conflict (server-side apply). There the models fill the defaults in."""
    inner = {
        key: _without_defaults(schema[key])
        for key in ("items", "additionalProperties")
        if isinstance(schema.get(key), dict)
    }
    properties = {key: _without_defaults(value) for key, value in schema.get("properties", {}).items()}
    kept = {key: value for key, value in schema.items() if key != "default"}
    return {**kept, **inner, **({"properties": properties} if properties else {})}


def _of(model: type[BaseModel]) -> Schema:
    made = model.model_json_schema(by_alias=True, ref_template="{model}")
    return _structural(made, made.get("$defs", {}))


def _structural(schema: Schema, defs: dict[str, Schema]) -> Schema:
    """One schema without references, unions with null, titles and empty defaults."""
    schema = _resolved(schema, defs)
    if schema.get("x-kubernetes-int-or-string"):
        return schema
    made: Schema = {key: schema[key] for key in _KEPT if key in schema}
    if "const" in schema:
        made["enum"] = [schema["const"]]
    if "properties" in schema:
        made["properties"] = {name: _structural(value, defs) for name, value in schema["properties"].items()}
    if isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = _structural(schema["additionalProperties"], defs)
    if "items" in schema:
        made["items"] = _structural(schema["items"], defs)
    made |= {key: value for key, value in schema.items() if key.startswith("x-kubernetes-")}
    return _with_plain_default(made)


def _resolved(schema: Schema, defs: dict[str, Schema]) -> Schema:
    """The schema with what it refers to; what stands beside the reference wins, rules of both are kept."""
    if "anyOf" in schema and "x-kubernetes-int-or-string" not in schema:
        (choice,) = (option for option in schema["anyOf"] if option.get("type") != "null")
        rest = {key: value for key, value in schema.items() if key != "anyOf"}
        return _resolved(_merged(choice, rest), defs)
    if "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return _resolved(_merged(defs[schema["$ref"]], rest), defs)
    return schema


def _merged(inner: Schema, outer: Schema) -> Schema:
    rules = [*inner.get(RULES_KEY, ()), *outer.get(RULES_KEY, ())]
    return {**inner, **outer, **({RULES_KEY: rules} if rules else {})}


def _with_plain_default(schema: Schema) -> Schema:
    """Defaults that say something are kept: a section takes {} so that the defaults inside it apply; empty texts,
    lists and maps are as good as absent, and would only be noise in the stored object."""
    default = schema.pop("default", None)
    if isinstance(default, dict):
        if any("default" in value for value in schema.get("properties", {}).values()):
            schema["default"] = {}
    elif default not in (None, "", []):
        schema["default"] = default
    return schema


def text() -> str:
    """The file's content."""
    import yaml

    header = "# Generated from operator/securetenant/api by `python -m securetenant.api.crd`. Do not edit.\n"
    return header + yaml.dump(definition(), Dumper=_plain_dumper(), sort_keys=False, width=110, allow_unicode=True)


def _plain_dumper() -> Any:
    """A dumper without aliases: shared parts are written out."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return Plain


def main() -> int:
    """Write the file, or compare it with what the models say."""
    parser = argparse.ArgumentParser(prog="python -m securetenant.api.crd", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit with 1 if they differ")
    made = text()
    if not parser.parse_args().check:
        PATH.parent.mkdir(exist_ok=True)
        PATH.write_text(made)
        return 0
    if PATH.exists() and PATH.read_text() == made:
        return 0
    print(f"{PATH} is not up to date: run `python -m securetenant.api.crd`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
