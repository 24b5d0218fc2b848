"""Settings: one YAML file, the environment and the flags, in that order, become frozen policies.

Read ``loading`` first: ``Settings`` combines the policies that stand in the modules that use them,
and those of ``workers`` and ``serve`` here. ``sources`` reads, ``problems`` writes the error
messages, ``catalogue`` lists every setting. ``sent`` is what workers on other machines are sent.
"""
