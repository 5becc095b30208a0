"""The CustomResourceDefinitions, generated from the models.

`python -m securetenant.api.crd` writes them below `crds/` of the working directory; with `--check` it compares
instead, and exits with 1 if a file is not up to date, or there is one that nothing here makes.
"""

import argparse
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from securetenant.api import definitions, generated
from securetenant.api.constraints import RULES_KEY
from securetenant.api.definitions import Definition

FOLDER: Final = Path("crds")

Schema = dict[str, Any]

# What a structural schema may say (apiextensions.k8s.io/v1 JSONSchemaProps), in the order in which it is written.
_KEPT: Final = (
    *("description", "type", "format", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum"),
    *("minItems", "maxItems", "minProperties", "maxProperties", "default", "required"),
)

_KUSTOMIZATION: Final = """\
# The folder as a kustomization, for manifests/. The name without an ending is one that kustomize knows and that
# `kubectl apply -f crds/` passes over.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
"""


@cache
def definition(of: Definition) -> Schema:
    """The whole CustomResourceDefinition. Cached: not to be changed by the caller."""
    kind = of.kind
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": of.name},
        "spec": {
            "group": kind.group,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                **({"shortNames": list(of.short_names)} if of.short_names else {}),
            },
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [
                {
                    "name": kind.version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        *map(_column, of.columns),
                        *({**_column(one), "priority": 1} for one in of.wide),
                    ],
                    "schema": {"openAPIV3Schema": root_schema(of)},
                }
            ],
        },
    }


def _column(column: tuple[str, str, str, str]) -> Schema:
    name, kind, path, text = column
    return {"name": name, "type": kind, "jsonPath": path, "description": text}


@cache
def root_schema(of: Definition) -> Schema:
    """The structural schema of the whole resource. Cached: not to be changed by the caller."""
    return {
        "description": of.description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _bare_lists(documented_schema(of)),
            "status": _status_schema(of.status),
        },
        RULES_KEY: [
            {"rule": of.name_rule[0], "message": of.name_rule[1]},
            *({"rule": one.cel, "message": one.message, "fieldPath": one.path} for one in of.transitions),
        ],
    }


def spec_schema(of: Definition) -> Schema:
    """The structural schema of the spec. Not to be changed by the caller."""
    schema: Schema = root_schema(of)["properties"]["spec"]
    return schema


@cache
def documented_schema(of: Definition) -> Schema:
    """The same with all defaults that the models fill in. Cached: not to be changed by the caller."""
    return _of(of.spec)


def _status_schema(status: type[BaseModel]) -> Schema:
    schema = _without_defaults(_of(status))
    properties = schema["properties"]
    for name, inner in status.model_json_schema(by_alias=True, mode="serialization")["properties"].items():
        if name not in properties:  # computed: it is only written
            properties[name] = {key: inner[key] for key in ("type", "description")}
    if "conditions" in properties:
        properties["conditions"] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
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


def files() -> dict[str, str]:
    """The content of each file in the folder, by its name: a CRD each, and what makes the folder a kustomization."""
    header = "# Generated from operator/securetenant/api by `python -m securetenant.api.crd`. Do not edit.\n"
    dumped = {f"{one.name}.yaml": generated.text(header, definition(one)) for one in definitions.DEFINITIONS}
    return {**dumped, "Kustomization": _KUSTOMIZATION + "".join(f"- {name}\n" for name in dumped)}


def main() -> int:
    """Write the files, or compare them with what the models say."""
    parser = argparse.ArgumentParser(prog="python -m securetenant.api.crd", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit with 1 if they differ")
    made = files()
    if not parser.parse_args().check:
        FOLDER.mkdir(exist_ok=True)
        for name, text in made.items():
            (FOLDER / name).write_text(text)
        return 0
    standing = {path.name: path.read_text() for path in sorted(FOLDER.glob("*"))}
    for name in (name for name, text in made.items() if standing.get(name) != text):
        print(f"{FOLDER / name} is not up to date: run `python -m securetenant.api.crd`", file=sys.stderr)
    for name in (name for name in standing if name not in made):
        print(f"{FOLDER / name} is made by no definition: delete it", file=sys.stderr)
    return int(standing != made)


if __name__ == "__main__":
    sys.exit(main())
