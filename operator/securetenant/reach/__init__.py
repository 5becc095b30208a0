"""Who can really reach whom: exactly, from the policies of a cluster, by classes of pods and sets of ports. Pure.

values.py    a cluster as what decides it; groups of pods, flows
scope.py     the namespaces that can meet some of them
classes.py   pods that no policy tells apart
flows.py     the flows that result, of a cluster or between two states of it
explain.py   why one connection passes or does not
addresses.py ranges of addresses outside the cluster
"""
