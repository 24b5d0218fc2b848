"""Implementations of the ports, one file each: the only modules here that import outside libraries."""
