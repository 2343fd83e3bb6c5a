"""Goldens: what PyTorch, diffusers and transformers answer, stored for tests that run without them."""
