"""What a month of BISON is: steps, names, markers, regions, status rules and SQL.

Standard library only: the Pulumi program, the Lambda functions, the task image, the local run and the command
line all read this package, and nothing else repeats what it says.
"""
