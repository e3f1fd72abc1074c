"""What Lambda runs: thin handlers over small modules of a single purpose.

Handlers: ``find_current_gbif``, ``sql_step``, ``delete_obsolete``, ``task_step``, ``watcher``, ``sweep``. None of them
waits, and each looks at what lies in S3 rather than trust that an event comes once, in time and in order (``attempts``
has the rules). Standard library, boto3 and ``workflow`` only. Settings are read from the environment at every call.
"""
