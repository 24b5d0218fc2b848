"""Implementations of the ports, one file each: only these import outside libraries."""
