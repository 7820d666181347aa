"""The computation graph: nodes, their meaning, their derivatives. Imports nothing else of Handloom."""
