"""subnets: the addresses of each namespace's pods, given by the cluster's network plug-in.

control.py     which subnet each namespace gets, and the objects that make it so
provider.py    which network plug-in is in use
allocation.py  which block of addresses a namespace has, and why it has none
objects.py     what each network plug-in is told: the object of a subnet, and the annotations of its namespace
places.py      which addresses the pods of a namespace have
reach.py       what a subnet of Kube-OVN may exchange packets with
strangers.py   subnets of others that a namespace is bound to as well
ranges.py      which addresses the cluster's objects use
review.py      what is told of subnets from files alone
pools.py       what is given out of a SubnetPool, and what is left
"""
