"""Which wording of a label is best, for `clipstream labels tune --prompts`.

Read ``candidates`` first: a file with other wordings. ``choosing`` compares them on a sample.
``telling`` shows what was found, at a terminal and on a page.
"""
