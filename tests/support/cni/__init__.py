"""What a network plug-in does with what it is told: which connections pass, and which addresses pods get. Pure.

The judge of what the operator writes for Kube-OVN, Calico and Cilium. It shares no code with the operator's controls.
Every rule was seen on the plug-in's real control plane, most with packets; tests/cni has one test for each.

values.py            ends of connections, NetworkPolicies, Subnets, acls: a cluster as a value
policies.py          NetworkPolicies
cluster_policies.py  ClusterNetworkPolicies
matches.py           the match of an acl of Kube-OVN
flows.py             whether a new connection passes, and what stops it
addresses.py         out of which pool a pod's address is
reading.py           the values of objects as the API server has them
"""
