"""Models from Hugging Face directories: families by their model_type, weights, and where both come from."""
