"""Parallel training over ``torch.distributed``: data, expert, tensor and pipeline, each a file that reads alone."""
