//go:build unix

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockFolder opens a folder and takes its lock, which ends with the file that is
// returned, so also when the gateway is killed. Nil without an error: somebody else has
// it. Cleaners of temporary folders leave locked ones alone, too.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	for {
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			return f, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return nil, f.Close()
		case !errors.Is(err, unix.EINTR):
			return nil, errors.Join(os.NewSyscallError("flock", err), f.Close())
		}
	}
}

// private refuses a folder that anybody but this user may enter.
func private(info fs.FileInfo) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || ok && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not the gateway's own private folder any more (mode %v)", info.Name(), info.Mode())
	}
	return nil
}
