"""Tasks that go wrong, for the task image of the tests: TASK_APP names one of these modules."""
