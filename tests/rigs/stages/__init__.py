"""The stages of an image's path under test, and what they are fed with."""
