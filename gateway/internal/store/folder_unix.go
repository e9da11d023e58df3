//go:build unix

package store

import (
	"errors"
	"os"
)

// syncFolder makes renames in a folder durable.
func syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
