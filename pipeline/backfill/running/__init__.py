"""What a driver knows and decides while a job runs. Pure; the clock is an argument.

Read ``progress`` first: what ``progress.json`` says. ``pace`` measures the rate and says how long
it will take. ``manners`` shares the job's rate among workers. ``giving`` gives places back to a
stream on the same cluster. ``limits`` says when a job has used up its hours or its money.
``ending`` is what ``_SUCCESS.json`` says.
"""
