"""AWS on one machine: one HTTP endpoint, the program's own resources in moto, and events between them."""
