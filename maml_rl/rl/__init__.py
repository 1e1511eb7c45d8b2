"""Reinforcement learning on the core: tasks, sampling, policies, advantages and the outer trust-region update."""
