package auth

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/fsnotify/fsnotify"
)

// maxLinks bounds the symlinks followed on the way to one file.
const maxLinks = 40

// folderEvents tells of changes in folders, as *fsnotify.Watcher does.
type folderEvents struct {
	events      <-chan fsnotify.Event
	errors      <-chan error
	add, remove func(dir string) error
	close       func() error
}

// systemEvents are those of the operating system.
func systemEvents() (*folderEvents, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	return &folderEvents{events: w.Events, errors: w.Errors, add: w.Add, remove: w.Remove, close: w.Close}, nil
}

// dirSet watches the folders that decide what a path means: the one of the file
// and those of all symlinks on the way to it, or the nearest folder that exists.
type dirSet struct {
	notify  *folderEvents // nil: events are not available
	watched map[string]bool
	names   map[string]bool // entries of those folders that are on the way
	blind   bool            // some folder could not be watched
}

// follow walks path anew and adjusts what is watched.
func (d *dirSet) follow(path string) {
	dirs, names := chain(path)
	d.names, d.blind = names, false
	if d.notify == nil {
		return
	}
	for dir := range d.watched {
		if !dirs[dir] {
			_ = d.notify.remove(dir) // it may be gone already, and its watch with it
			delete(d.watched, dir)
		}
	}
	for dir := range dirs {
		// Adding is repeated on purpose: a folder that was replaced has lost its watch.
		if d.notify.add(dir) == nil {
			d.watched[dir] = true
		} else {
			d.blind = true // unreadable or gone: polling has to do
			delete(d.watched, dir)
		}
	}
}

// concerns reports whether an entry is one of those on the way to the file.
func (d *dirSet) concerns(name string) bool { return d.names[filepath.Clean(name)] }

func (d *dirSet) events() <-chan fsnotify.Event {
	if d.notify == nil {
		return nil
	}
	return d.notify.events
}

func (d *dirSet) errors() <-chan error {
	if d.notify == nil {
		return nil
	}
	return d.notify.errors
}

func (d *dirSet) close() {
	if d.notify != nil {
		_ = d.notify.close()
	}
}

// chain resolves an absolute path by hand and returns the folders to watch and the
// entries in them that matter.
func chain(path string) (dirs, names map[string]bool) {
	dirs, names = map[string]bool{}, map[string]bool{}
	volume := filepath.VolumeName(path)
	root := volume + string(filepath.Separator)
	at, rest := root, split(path[len(volume):])
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		names[next] = true
		last := len(rest) == 1
		rest = rest[1:]
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			dirs[at] = true // the nearest folder there is
			return dirs, names
		case info.Mode()&os.ModeSymlink != 0:
			dirs[at] = true
			target, err := os.Readlink(next)
			if links++; err != nil || links > maxLinks {
				return dirs, names
			}
			if filepath.IsAbs(target) {
				vol := filepath.VolumeName(target)
				at, target = vol+string(filepath.Separator), target[len(vol):]
			}
			rest = append(split(target), rest...)
		case last:
			dirs[at] = true
		default:
			// The folder itself may be replaced; its parent tells.
			if len(rest) == 1 {
				dirs[at] = true
			}
			at = next
		}
	}
	return dirs, names
}

func split(path string) []string {
	var out []string
	for _, p := range strings.FieldsFunc(path, func(r rune) bool { return r == filepath.Separator || r == '/' }) {
		if p != "." {
			out = append(out, p)
		}
	}
	return out
}
