"""Looks at the topics of a stream without taking part in it: no group, nothing is committed.

Read ``topics`` first: all that the console asks of Kafka. ``tail`` reads the end of the output
topics.
"""
