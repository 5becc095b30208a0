"""exposure: what a tenant's Services, Ingresses and routes may open to the outside.

checks.py   the checks, and their parameters
hosts.py    which of its hosts a tenant holds: of two that declare the same, the older does
control.py  what is written: the parameters on the namespaces
"""
