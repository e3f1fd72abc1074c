"""What exists in AWS: a Pulumi component a file, wired by ``__main__.py``; policies and patterns by pure functions."""
