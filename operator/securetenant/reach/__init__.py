"""Who can really reach whom: exactly, from the policies of a cluster, by classes of pods and sets of ports. Pure.

values.py    a cluster as what decides it; groups of pods, flows
reading.py   a cluster out of objects
scope.py     the namespaces that can meet some of them
classes.py   pods that no policy tells apart
tiers.py     the policies above and below NetworkPolicies
kube_ovn.py  what Kube-OVN does beside all policies
layers.py    what decides at the ends of a connection, where there is one of these
passing.py   what passes between two classes, or to addresses outside the cluster
flows.py     the flows that result, of a cluster or between two states of it
addresses.py ranges of addresses outside the cluster
standing.py  what stands in a few namespaces, out of the caches
holds.py     where what stands differs from what a tenant declares
report.py    what is said of that: condition, status, metric
"""
