"""Settings: one YAML file, the environment, the flags, in that order, into frozen policies.

Read ``loading`` first: ``Settings`` is made of the policies that stand beside their users, and here
of ``workers``. ``sources`` reads, ``problems`` complains, ``catalogue`` lists every setting.
"""
