"""Text: tokens, tags, spans and windows. Imports no other room."""
