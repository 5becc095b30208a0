"""The rules as Prometheus reads them, and what tests, demo and pictures need of them: no Grafana, and no patience."""

import re
from typing import Any, Final

from monitoring.alerts import GROUPS, Alert, Record

#: How far rates look back where everything is scraped each second.
LOOKBACK: Final = "20s"


def groups() -> dict[str, Any]:
    """The rules as Prometheus reads them."""
    return {"groups": [{"name": name, "rules": [_rule(rule) for rule in rules]} for name, rules in GROUPS.items()]}


def shortened() -> dict[str, Any]:
    """The rules as they ship, with seconds for what takes minutes."""
    short = groups()
    for group in short["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "2s"
            # What looks back over minutes sees less.
            rule["expr"] = re.sub(r"\[\d+m\]", f"[{LOOKBACK}]", rule["expr"])
    return short


def plain(expr: str) -> str:
    """A panel's expression without Grafana's variables: about all clusters and tenants."""
    return expr.replace("$cluster", ".*").replace("$tenant", ".*").replace("$__rate_interval", LOOKBACK)


def _rule(rule: Alert | Record) -> dict[str, Any]:
    if isinstance(rule, Record):
        return {"record": rule.name, "expr": rule.expr}
    return {
        "alert": rule.name,
        "expr": rule.expr,
        **({"for": rule.lasts} if rule.lasts else {}),
        "labels": {"severity": rule.severity},
        "annotations": {"summary": rule.summary, "description": rule.description, "runbook_url": rule.runbook},
    }
