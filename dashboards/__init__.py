"""The web dashboard: it asks the verbs of the command line, shows what they answer, and computes nothing."""
