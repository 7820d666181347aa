"""From a user's data to a finished run folder: estimators, `fit`, the engine of a step, the loop, checkpoints, reports.

`estimator.Estimator` is what the user holds, `fitting.Fit` one call of `fit` from top to bottom, `loop.Loop` its steps.
"""
