"""manifests/admission and two components beside it, generated from the checks of all controls.

`python -m securetenant.controls.admission.manifests` writes the files in these folders of the working directory; with
`--check` it compares instead, and exits with 1 if one is not up to date.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from securetenant.api import generated
from securetenant.checks import accounts, injections
from securetenant.checks.targets import Document
from securetenant.controls.admission import shipped
from securetenant.controls.registry import CHECKS

FOLDER: Final = Path("manifests")
_POLICIES: Final = "admission"
_ACCOUNTS: Final = "components/accounts"
# What stands beside the generated files, written by hand: the namespaces of the operator's probe.
_WRITTEN: Final = ("probe.yaml",)
_INJECTION: Final = "components/injection"
_HEADER: Final = (
    "# Generated from the checks in operator/securetenant/controls by\n"
    "# `python -m securetenant.controls.admission.manifests`. Do not edit.\n"
)
_ABOUT_ACCOUNTS: Final = (
    "# The policies with the accounts of your platform in place of the default ones: name this component in an\n"
    "# overlay, with a ConfigMap as in examples/with-accounts among its resources.\n"
)
_ABOUT_INJECTION: Final = (
    "# What the API server writes into the tenants' pods (docs/controls/nodes.md, docs/controls/images.md). It needs\n"
    "# MutatingAdmissionPolicy v1: Kubernetes 1.36 or newer. Without it pods are judged as their authors wrote them.\n"
)


def documents() -> dict[str, list[Document]]:
    """The policies and their bindings by file of `manifests/admission`."""
    return shipped.documents(CHECKS)


def texts() -> dict[str, str]:
    """The files' contents by path below `FOLDER`."""
    made = documents()
    base = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [*made, *_WRITTEN],
    }
    injection = {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "resources": ["policy.yaml"],
    }
    given = [one for each in made.values() for one in each]
    return {
        **{f"{_POLICIES}/{name}": generated.text(_HEADER, *each) for name, each in made.items()},
        f"{_POLICIES}/kustomization.yaml": generated.text(_HEADER, base),
        f"{_ACCOUNTS}/kustomization.yaml": generated.text(_HEADER + _ABOUT_ACCOUNTS, _component(given)),
        f"{_INJECTION}/policy.yaml": generated.text(_HEADER, *injections.policy(CHECKS)),
        f"{_INJECTION}/kustomization.yaml": generated.text(_HEADER + _ABOUT_INJECTION, injection),
    }


def _component(given: Iterable[Document]) -> Document:
    """A kustomize component that writes the accounts from a ConfigMap into the policies that tell them apart. The
    ConfigMap is a file for kustomize alone, and never reaches the cluster."""
    variable = {
        "fieldPaths": [f"spec.variables.[name={accounts.VARIABLE}].expression"],
        "options": {"delimiter": accounts.QUOTE, "index": 1},
    }
    annotation = {"fieldPaths": [f"metadata.annotations.[{accounts.ANNOTATION}]"]}
    selects = [
        {"select": {"kind": one["kind"], "name": one["metadata"]["name"]}}
        for one in given
        if accounts.ANNOTATION in one["metadata"].get("annotations", {})
    ]
    return {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "replacements": [
            {
                "source": {"kind": "ConfigMap", "name": "securetenant-accounts", "fieldPath": "data.accounts"},
                "targets": [{**select, **field} for select in selects for field in (annotation, variable)],
            }
        ],
    }


def main() -> int:
    """Write the files, or compare them with what the checks say."""
    parser = argparse.ArgumentParser(prog="python -m securetenant.controls.admission.manifests", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit with 1 if one differs")
    wanted = texts()
    if not parser.parse_args().check:
        for name, text in wanted.items():
            (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
            (FOLDER / name).write_text(text)
        return 0
    paths = [path for folder in (_POLICIES, _ACCOUNTS, _INJECTION) for path in (FOLDER / folder).glob("*.yaml")]
    paths = [path for path in paths if path.name not in _WRITTEN]
    found = {str(path.relative_to(FOLDER)): path.read_text() for path in paths}
    wrong = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    for name in wrong:
        print(f"{FOLDER / name} is not up to date: run `{parser.prog}`", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
