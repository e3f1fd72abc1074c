"""What a Spot instance runs: the task image, the machine's script, and the tasks' Python package."""
