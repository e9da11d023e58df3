package store

// syncFolder makes renames in a folder durable. Windows does that by itself.
func syncFolder(string) error { return nil }
