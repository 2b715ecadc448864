"""The DeepSeek-V3 family in plain PyTorch, and the profiler that runs it on a real device."""
