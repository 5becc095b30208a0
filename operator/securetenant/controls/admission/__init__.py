"""admission: what the API server refuses, with the operator or without it.

control.py    the mode, the exemptions and the locks on each namespace, where the policies read them
lock.py       the policy that locks the namespaces
manifests.py  the policies, generated from the checks of all controls
"""
