"""`clipstream labels …`: check label sets, test them, and choose their thresholds.

Read ``commands`` first: what a person types. Each command is a module of its own name.
"""
