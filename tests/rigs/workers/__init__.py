"""Workers and their supervisor, or parts of them, turned by a test."""
