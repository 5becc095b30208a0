"""network: who may talk to whom.

whitelist.py   which declared flows are open
policies.py    the whitelist turned into NetworkPolicies
endpoints.py   where the API server is
expiry.py      which rules end soon
openings.py    what a NetworkPolicy opens, for a reader
changes.py     which flows a rollout opened and closed, and why
notices.py     what people are told of that
triggers.py    which events concern a tenant's whitelist
control.py     the plan, and what there is to say of it
"""
