"""Parts of a post-training step: answer lengths, rollout, passes over the networks, weight sync, memory, recipes."""
