"""One suite that every batch plugin must pass; `harness.py` says how to plug one in."""
