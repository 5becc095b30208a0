"""Pods whose packets are real: a network namespace each, and the enforcer of SIG Network between them.

netns.py     network namespaces that nothing but this process holds
nfqueue.py   the one rule that hands the first packet of each connection to the enforcer
rig.py       pods, addresses outside, the enforcer
calls.py     connections: which pass, which do not
judges.py    what is to pass, by readers that share no code
"""
