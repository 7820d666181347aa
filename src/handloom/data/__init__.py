"""Data: from people's files to packed batches."""
