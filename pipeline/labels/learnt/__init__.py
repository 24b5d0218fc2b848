"""What was learnt from labelled images, as numbers that anyone can apply by hand.

Read ``calibration`` first: a label's score becomes a probability. ``logistic`` has the functions
that scores are made with.
"""
