"""nodes: nodes dedicated to one tenant, by a taint that keeps others out and a label that its pods require.

control.py    label and taint of the nodes, and the parameters on the tenant's namespaces
checks.py     what pods may select and tolerate
placement.py  what the API server writes into the tenant's pods
intruders.py  pods of others that run on the tenant's nodes
"""
