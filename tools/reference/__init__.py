"""PyTorch, diffusers and transformers behind functions from numpy to numpy: what the engine is compared with."""
