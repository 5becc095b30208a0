"""Checks: what workloads may never do, each written once in CEL. The same text is enforced at admission by the API
server and evaluated by `securetenant validate`."""
