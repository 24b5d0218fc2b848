"""`clipstream labels …`: check label sets, test them, and choose their thresholds.

Read ``commands`` first: what a person types. ``check`` shows what label sets say. ``testing``
prints what ``tested`` finds on labelled images, and ``tuning`` writes the thresholds that ``tuned``
chooses. ``reports`` has the pages of both.
"""
