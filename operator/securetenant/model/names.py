"""Every name that SecureTenant writes into a cluster, in one place.

They are an interface: dashboards, admission policies and other tools depend on them.
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
PRIORITY_CLASS: Final = "securetenant"  # of the operator's own pods

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "securetenant"
LABEL_TENANT: Final = f"{GROUP}/tenant"
LABEL_CONTROL: Final = f"{GROUP}/control"
LABEL_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"

# The record on an object of what was last written to it (see model/record.py).
ANNOTATION_APPLIED: Final = f"{GROUP}/applied"

# The value that a namespace was created with, and the commitment on the SecureTenant (see controls/commitment.py).
ANNOTATION_CREATION: Final = f"{GROUP}/creation"
ANNOTATION_CREATING: Final = f"{GROUP}/creating"

# On the object of a subnet whose namespace is gone: since when.
ANNOTATION_UNUSED: Final = f"{GROUP}/unused-since"

# On the object of a subnet that a tenant left with its namespace: the tenant. Whoever adopts the namespace gets it.
ANNOTATION_LEFT: Final = f"{GROUP}/left-by"

NODE_LABEL_TENANT: Final = f"{GROUP.split('.')[0]}.node-restriction.kubernetes.io/tenant"
NODE_TAINT: Final = f"{GROUP}/tenant"

# The name of every child object of ours starts with this, so that a reader of `kubectl get` recognizes it.
CHILD_PREFIX: Final = "securetenant"

# The namespaces that the API server itself creates, and recreates.
BUILT_IN_NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")

# The admission policy that restrains the operator itself.
RESTRAINT: Final = f"operator.{GROUP}"

# Where the operator tries, as a dry run, what admission does with a pod: in one it refuses, in the other it warns.
PROBE_NAMESPACES: Final = ("securetenant-probe-deny", "securetenant-probe-warn")

SYSTEM_NAMESPACES: Final = ("default", OPERATOR_NAMESPACE, *PROBE_NAMESPACES)
SYSTEM_NAMESPACE_PREFIXES: Final = ("kube-", "openshift-")


def is_system_namespace(name: str) -> bool:
    """Whether `name` belongs to the cluster itself and can never be a tenant's."""
    return name in SYSTEM_NAMESPACES or name.startswith(SYSTEM_NAMESPACE_PREFIXES)
