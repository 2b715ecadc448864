"""The command line: one file a verb. The only part of costsim that prints."""
