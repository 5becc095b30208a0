"""admission: what the API server refuses, with the operator or without it.

control.py    the mode, the exemptions and the locks on each namespace, where the policies read them
exemptions.py the exemptions as they are written and told; notices.py what people are told of them
lock.py       the policy that locks the namespaces; posture.py the one that locks what we make in them
restraint.py  the policy on the operator's own account
locks.py      what a spec says of both, where they read it
manifests.py  the policies, generated from the checks of all controls
"""
