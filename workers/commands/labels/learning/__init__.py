"""What labels learn from labelled images, beside thresholds.

``calibrating`` learns for `clipstream labels tune` what scores are worth as probabilities.
"""
