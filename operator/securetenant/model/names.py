"""Every name that SecureTenant writes into a cluster, in one place.

They are an interface: dashboards, admission policies and other tools rest on them.
"""

from typing import Final

GROUP: Final = "securetenant.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "SecureTenant"

FIELD_MANAGER: Final = "securetenant"
FINALIZER: Final = f"{GROUP}/cleanup"
LEASE: Final = "securetenant"
OPERATOR_NAMESPACE: Final = "securetenant-system"

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "securetenant"
LABEL_TENANT: Final = f"{GROUP}/tenant"
LABEL_CONTROL: Final = f"{GROUP}/control"
LABEL_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"

# The record, on the object, of what was last written to it (see model/record.py).
ANNOTATION_APPLIED: Final = f"{GROUP}/applied"

# What a namespace was created with, and the commitment to it on the SecureTenant (see controls/commitment.py).
ANNOTATION_CREATION: Final = f"{GROUP}/creation"
ANNOTATION_CREATING: Final = f"{GROUP}/creating"

NODE_LABEL_TENANT: Final = f"{GROUP.split('.')[0]}.node-restriction.kubernetes.io/tenant"
NODE_TAINT: Final = f"{GROUP}/tenant"

# Every child object of ours starts with this, so that a reader of `kubectl get` knows whose it is.
CHILD_PREFIX: Final = "securetenant"

# Those that the API server itself makes, and makes again.
BUILT_IN_NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")

SYSTEM_NAMESPACES: Final = ("default", OPERATOR_NAMESPACE)
SYSTEM_NAMESPACE_PREFIXES: Final = ("kube-", "openshift-")


def is_system_namespace(name: str) -> bool:
    """Whether `name` belongs to the cluster itself and can never be a tenant's."""
    return name in SYSTEM_NAMESPACES or name.startswith(SYSTEM_NAMESPACE_PREFIXES)
