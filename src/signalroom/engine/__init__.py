"""When and where steps run."""
