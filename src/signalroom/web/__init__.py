"""What the resident process shows over HTTP: whether it lives, whether it is ready, and its figures."""
