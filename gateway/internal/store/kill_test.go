package store

func runChildIfAsked() {}
