"""What labels learn from labelled images, beside thresholds.

Read ``calibrating`` first: it learns for `clipstream labels tune` what scores are worth as
probabilities. ``training`` learns a head.
"""
