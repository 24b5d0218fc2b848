"""Label sets, and how they score an embedding.

Read ``label_set`` first (what a label set says), then ``scoring`` (the maths). ``blocks`` does the
same for many images at a time, and ``strongest`` puts the views of one image together. ``learnt``
has what labelled images teach, and ``wording`` the prompts. ``parsing`` reads a label set from
plain data, which ``written`` takes key by key, with the types of ``values``. ``pins`` compares the
model. ``categories`` lists OpenAI's categories, to which a label may belong. ``counting`` counts
decisions for metrics. ``recorded`` reads a recorded label set back, ``explaining`` derives a
published result again, and ``comparing`` says what another label set would decide.
"""
