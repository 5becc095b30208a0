"""The largest spec that the API allows, and a pod of long lists that keeps its rules."""

from typing import Any, Final

from tests.support import attacks

CONTAINERS: Final = 50
HOSTS: Final = 200
_CAPABILITIES: Final = 41
_DOMAIN: Final = ".".join(["p" * 63] * 2 + ["p" * 61])
_LONG: Final = ".".join(["l" * 63] * 3 + ["l" * 50])


def sections() -> dict[str, Any]:
    """The sections that admission reads, each list as long as it may be, of the longest values; what the pod needs is
    last."""
    exemptions = [
        {
            "control": "runtime",
            "check": "readOnlyRootFilesystem",
            "namespace": attacks.NAMESPACE,
            "pods": {f"{_DOMAIN}/{key}{'k' * 62}": f"{number:063}" for key in range(4)},
            "reason": "vendor image",
            "expires": attacks.EVER,
        }
        for number in range(64)
    ]
    return {
        "runtime": {
            "hostPaths": [*({"path": f"/{number:02}/{'d' * 249}"} for number in range(31)), {"path": host_path()}],
            "hostPorts": list(range(30000, 30064)),
            "addCapabilities": [f"X{number:038}" for number in range(_CAPABILITIES)],
            "runtimeClasses": [*(f"{number:02}.{'c' * 250}" for number in range(31)), "gvisor"],
            "priorityClasses": [*(f"{number:02}.{'c' * 250}" for number in range(31)), "tenant-high"],
        },
        "images": {"registries": [f"r{number:02}.example/{'p' * 187}" for number in range(100)]},
        "storage": {
            "classes": [*(f"{number:02}.{'c' * 250}" for number in range(31)), ""],
            "volumeAttributesClasses": [f"{number:02}.{'c' * 250}" for number in range(32)],
        },
        "exposure": exposure(),
        "exemptions": exemptions,
    }


def exposure() -> dict[str, Any]:
    """The section of that name; what `ingress` and `service` need is last."""
    hosts = [*(f"*.h{number:02}.{_LONG}" for number in range(63)), "*.payments.bank.example"]
    return {
        "loadBalancerClasses": [f"c{number:02}.{_DOMAIN}/{'k' * 59}" for number in range(16)],
        "externalNames": [f"n{number:03}.{_LONG}" for number in range(32)],
        "ingress": {
            "hosts": hosts,
            "classes": [*(f"{number:02}.{'c' * 250}" for number in range(15)), "internal"],
            "gateways": [*(f"{'n' * 63}/{number:02}.{'g' * 250}" for number in range(15)), "infra/internal"],
        },
    }


def ingress() -> dict[str, Any]:
    """Of many hosts, each with TLS."""
    body = attacks.OBJECTS["Ingress"]()
    rule = body["spec"]["rules"][0]
    hosts = [f"host-{number}.payments.bank.example" for number in range(HOSTS)]
    body["spec"]["rules"] = [{**rule, "host": host} for host in hosts]
    body["spec"]["tls"] = [{"hosts": [host], "secretName": "web"} for host in hosts]
    return body


def host_path() -> str:
    return f"/99/{'d' * 249}"


def pod() -> dict[str, Any]:
    """Of many containers, each with many entries in each list."""
    body = attacks.pod(CONTAINERS)
    spec = body["spec"]
    given = sections()
    mounts = [{"name": f"v{number}", "mountPath": f"/m{number}", "readOnly": True} for number in range(40)]
    for one in (*spec["containers"], *spec["initContainers"]):
        one["image"] = f"{given['images']['registries'][-1]}/{one['name']}@{attacks.DIGEST}"
        one["securityContext"]["capabilities"]["add"] = given["runtime"]["addCapabilities"]
        one["volumeMounts"] = mounts
    for number, one in enumerate(spec["containers"]):
        one["ports"] = [{"containerPort": 1000 + number * 20 + port} for port in range(20)]
    spec["containers"][-1]["ports"] = [{"containerPort": p, "hostPort": p} for p in given["runtime"]["hostPorts"]]
    spec["runtimeClassName"] = given["runtime"]["runtimeClasses"][-1]
    spec["priorityClassName"] = given["runtime"]["priorityClasses"][-1]
    spec["volumes"] = [{"name": f"v{number}", "hostPath": {"path": f"{host_path()}/{number}"}} for number in range(40)]
    return body
