"""Policies of other kinds than NetworkPolicy, which network plug-ins enforce: what they select and open in a tenant.

reading.py    what is understood of a policy
upstream.py   AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy
calico.py     Calico's NetworkPolicy and GlobalNetworkPolicy
cilium.py     CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy
found.py      those that concern a tenant, and which events concern whom

They are read, never written and never deleted (the operator's own ClusterNetworkPolicies are ../admin_tier.py's). What
is not understood is told as that, and counts as selecting and opening anything.
"""
