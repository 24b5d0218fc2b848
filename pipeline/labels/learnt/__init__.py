"""What was learnt from labelled images, as numbers that anyone can apply by hand.

Read ``calibration`` first: a label's score becomes a probability. ``head`` makes scores of an
embedding without prompts. ``logistic`` has the functions that scores are made with.
"""
