"""nodes: nodes dedicated to one tenant.

control.py    label and taint of the nodes, and the parameters on the tenant's namespaces
checks.py     what pods may select and tolerate
"""
