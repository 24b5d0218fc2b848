"""`make test`: every check and test in named groups, three at a time where they do not judge time.

Read ``groups`` first: what each group runs and guards. ``running`` starts them, ends them and
measures them; ``priority`` leaves the processors to some of them; ``summary`` prints what became of
them. ``binaries`` fetches and builds what tests start.
"""
