"""Readers of measured data, one file per format; each turns its format into measurements and judges nothing."""
