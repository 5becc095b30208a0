"""network: who may talk to whom.

whitelist.py   which declared flows are open
outside.py     which part of a cidr lies outside of the cluster
forms.py       how peers in the cluster are written
admin_tier.py  the whitelist in the Admin tier, as ClusterNetworkPolicies
admin_rules.py the rules of one of these
policies.py    the whitelist turned into NetworkPolicies
endpoints.py   the addresses of the API server
expiry.py      which rules expire soon
openings.py    what a NetworkPolicy opens, as text
changes.py     which flows a rollout opened and closed, and why
notices.py     Events and log lines about these changes
checks.py      which annotations of pods and NetworkPolicies go around it
triggers.py    which events concern a tenant's whitelist
control.py     the plan, its status and conditions
"""
