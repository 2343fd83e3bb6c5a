"""Models of the Hugging Face hub: which files of a repository are needed, fetched once, checked and pinned.

huggingface_hub is imported by what talks to the hub alone: a model that was pulled is found without it.
"""
