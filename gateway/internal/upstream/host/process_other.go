//go:build !unix

package host

import (
	"io/fs"
	"os"
)

const supported = false

func spawn(launchSpec, *output) (child, error) { return nil, ErrUnsupported }

func lockFolder(string) (*os.File, error) { return nil, ErrUnsupported }

func private(fs.FileInfo) error { return ErrUnsupported }
