"""Data: what accelerators, clusters and prices are, and what was measured on them. The folder is the catalog."""
