"""What a process shows over HTTP: the API of report views, whether it lives and is ready, and its figures."""
