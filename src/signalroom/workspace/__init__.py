"""The user's folder: settings, plugins, pinned schemas; read, never opened."""
