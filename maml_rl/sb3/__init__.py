"""Stable-Baselines3 both ways: policies as PPO models and back, task environments as its vector environments."""
