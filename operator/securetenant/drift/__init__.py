"""The judgement, pure: desired against observed -> missing, changed, foreign, stale."""
