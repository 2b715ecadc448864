"""Profiler traces of any device: read in a stream, turned into busy time, overlap, gaps, phases and measurements."""
