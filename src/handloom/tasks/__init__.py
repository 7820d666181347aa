"""What is learnt: each task from examples to tokens and labels, its head and its loss, and from logits to scores.

`task.Task` is the contract; a task of the user's own keeps to it like these.
"""
