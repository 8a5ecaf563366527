"""Which experiences become which training examples?

Pure functions: the same records and recipe give the same dataset, byte for byte.

| Concern | Lives in |
|---|---|
| what one record says | experience.py |
| what a prompt asks, and when two prompts ask the same | query.py, algebra.py |
| is this answer right? | verify.py, claims.py (numbers), sandbox.py (code) |
| which answers belong to one question, and what feedback says of them | groups.py |
| which model is usually right? | standing.py |
| which of two answers is better, and why | pairs.py |
| what a recipe takes from that | selection.py, example.py |
| which pairs teach nothing | clean.py |
| who is held out | split.py |
| how long are the chosen answers? | lengths.py |
| all of it together, on disk | dataset.py |
"""
