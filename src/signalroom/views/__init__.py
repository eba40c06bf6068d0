"""Report views: manifests, the guard that reads their SQL, and which of them have to be computed."""
