"""Where the pipeline runs: command line, settings, wiring, Ray actors."""
