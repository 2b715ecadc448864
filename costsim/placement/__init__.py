"""Expert placement: loads in, replicas and the GPUs that hold them out, with what that does to balance and traffic."""
