"""What happens to a graph before code is generated. `pipeline.PIPELINE` names the passes in their order."""
