"""`clipstream labels`: what label sets say, and what they would decide.

Read ``commands`` first: the list. Each other module is one command.
"""
