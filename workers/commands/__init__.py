"""One file a subcommand of `clipstream`."""
