"""What a model is asked without having been trained here: words for masks, vectors for texts."""
