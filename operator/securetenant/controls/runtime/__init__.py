"""runtime: what pods may do on their nodes.

podsecurity.py  the Pod Security Standards as checks
workloads.py    the checks that those do not have, and the parameters of all
control.py      what is written: the Pod Security labels and the parameters on the namespace
"""
