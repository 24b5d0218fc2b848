"""`clipstream labels …`: what label sets say, how good they are, and what they would decide.

Read ``commands`` first: what a person types. ``check``, ``show``, ``diff`` and ``preview`` are one
command each; ``comparing`` does the work of the last two. ``testing`` prints what ``tested`` finds
on labelled images, ``grouping`` what ``grouped`` finds about groups of them, and ``tuning`` writes
the thresholds that ``tuned`` and the wordings that ``wordings`` chooses; ``learning`` has what else
images teach, and ``reports`` the pages. ``finding`` finds a label set by its file, its version or
its name.
"""
