//go:build !unix

package host

const supported = false

func spawn(launchSpec, *output) (child, error) { return nil, ErrUnsupported }
