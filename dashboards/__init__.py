"""The web dashboard: it formats reports and computes nothing."""
