"""Hypothesis strategies for SecureTenants, SubnetPools and NetworkTemplates that may or may not be valid: good ones,
with a few values in odd writings.

Nobody says beforehand which are good: the models and the API server judge each, and must agree.
"""

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

import yaml
from hypothesis import strategies as st

from securetenant.api import crd
from securetenant.api.definitions import Definition, of_kind
from tests.support.corpus import FOLDER
from tests.support.specs import Document, quantities, written
from tests.support.subnets import documents_with_subnets, pool_documents
from tests.support.templates import template_documents

_HUGE: Final = (2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**30)
_ODD: Final[dict[str, list[str]]] = yaml.safe_load((FOLDER / "odd.yaml").read_text())
_OWN_SYNTAX: Final = ("quantity", "time")
_ADDRESSES: Final = ("cidr", "except", "cidrV6", "cidrs", "reserved")


class Place(NamedTuple):
    """A value of a document: where it stands, and what the schema says of it."""

    parent: Any
    key: str | int
    name: str
    schema: Document


@st.composite
def cidrs(draw: st.DrawFn) -> str:
    """A CIDR, or what looks like one."""
    if draw(st.booleans()):
        return draw(st.sampled_from(_ODD["addresses"])) + draw(st.sampled_from(_ODD["lengths"]))
    bits, length = draw(st.sampled_from((32, 128))), draw(st.integers(0, 130))
    number = draw(st.integers(0, 2**bits - 1)) >> max(bits - length, 0) << max(bits - length, 0)
    if bits == 128 and draw(st.integers(0, 3)) == 0:
        number &= 0xFFFF_FFFF_FFFF  # with the prefix of IPv4-mapped addresses, or next to it
    return f"{written(draw, number, bits)}/{length}"


@cache
def _scalars() -> st.SearchStrategy[Any]:
    """What stands where something else should."""
    odd: tuple[Any, ...] = (None, True, False, 0, 1, -1, 1.0, 1.5, 443.0, "", "1", "true", "x", [], {}, [None], *_HUGE)
    return st.sampled_from(odd).map(copy.deepcopy)


@cache
def _integers() -> st.SearchStrategy[Any]:
    return st.sampled_from((0, 1, 80, 443, 65535, 65536, -1, 443.0, 443.5, 1e3, "443", None, True, *_HUGE))


@cache
def _values(name: str, kind: str) -> st.SearchStrategy[Any]:
    """Values for a place, by the name of the field and its type in the schema."""
    if name in _ADDRESSES:
        return cidrs()
    if kind == "quantity":
        return st.one_of(st.sampled_from(_ODD["quantities"]), quantities(), _integers())
    if kind == "time":
        return st.sampled_from(_ODD["times"])
    if kind == "integer":
        return _integers()
    if name == "key":
        return st.sampled_from(_ODD["keys"])
    return st.one_of(st.sampled_from(_ODD["names"]), st.text(max_size=5))


def _places(value: Any, schema: Document, parent: Any, key: str | int, name: str) -> Iterator[Place]:
    yield Place(parent, key, name, schema)
    if isinstance(value, dict):
        for field, inner in value.items():
            below = schema.get("properties", {}).get(field) or schema.get("additionalProperties") or {}
            yield from _places(inner, below, value, field, field)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places(inner, schema.get("items", {}), value, index, name)


def _kind(schema: Document) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    if schema.get("format") == "date-time":
        return "time"
    return str(schema.get("type", ""))


@st.composite
def wild_documents(draw: st.DrawFn, count: int = 10) -> list[Document]:
    """So many variants of one good document, of each of which nobody knows yet whether it is good."""
    good = draw(st.one_of(documents_with_subnets(), documents_with_subnets(), pool_documents(), template_documents()))
    definition = of_kind(good["kind"])
    assert definition is not None
    return [_variant(draw, good, definition) for _ in range(count)]


def _variant(draw: st.DrawFn, good: Document, definition: Definition) -> Document:
    document = copy.deepcopy(good)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        places = list(_places(document["spec"], crd.spec_schema(definition), document, "spec", "spec"))
        # Most places are maps and names; the ones with a syntax of their own are to come up as often.
        special = [place for place in places if place.name in _ADDRESSES or _kind(place.schema) in _OWN_SYNTAX]
        is_special: bool = draw(st.booleans())
        pool = special if special and is_special else places
        _spoil(draw, pool[draw(st.integers(0, len(pool) - 1))])
    if draw(st.integers(0, 19)) == 0:
        document["metadata"]["name"] = draw(st.sampled_from(_ODD["names"]))
    return document


def _spoil(draw: st.DrawFn, place: Place) -> None:
    parent, key, name, schema = place
    kind, value = _kind(schema), parent[key]
    if isinstance(value, dict) and schema.get("additionalProperties") and draw(st.integers(0, 3)):
        is_hard = bool(schema["additionalProperties"].get("x-kubernetes-int-or-string"))
        names = _ODD["resources"] if is_hard else _ODD["keys"]
        inner = schema["additionalProperties"]
        value[draw(st.sampled_from(names))] = draw(_values("", _kind(inner)))
    elif isinstance(value, list) and value and draw(st.integers(0, 3)):
        value.append(copy.deepcopy(value[0]))
    elif isinstance(value, dict) and draw(st.integers(0, 3)):
        field = draw(st.sampled_from(sorted(schema.get("properties", {})) or ["x"]))
        below = schema.get("properties", {}).get(field, {})
        value[field] = draw(_values(field, _kind(below)) if draw(st.booleans()) else _scalars())
    elif isinstance(value, dict | list) or draw(st.integers(0, 9)) == 0:
        parent[key] = draw(_scalars())
    else:
        parent[key] = draw(_values(name, kind))
