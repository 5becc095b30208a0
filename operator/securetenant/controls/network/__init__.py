"""network: who may talk to whom.

whitelist.py   which declared flows are open
policies.py    the whitelist turned into NetworkPolicies
endpoints.py   where the API server is
expiry.py      which rules end soon
openings.py    what a NetworkPolicy opens, for a reader
control.py     the plan, and what there is to say of it
"""
