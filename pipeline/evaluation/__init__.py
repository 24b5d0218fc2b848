"""What labelled images say about scores: how good they are, and which thresholds to set.

Read ``sample`` first: images, and what people say they show. ``share`` is a count with its
interval, which backfills use too. ``judging`` counts what a threshold does to images, and
``ranking`` judges the scores of a label at all thresholds. ``splitting`` holds a part out,
``tuning`` chooses a threshold on the other, with the exact ``binomial`` bounds of its promise.
``grouping`` compares rates between groups of images.
``reliability`` compares scores with frequencies. ``zero_shot`` measures a model on a data set, with
the ``templates`` of its prompts, beside the figures that ``benchmarks`` has. Everything here is
arrays and counts: no file, no model, no label set.
"""
