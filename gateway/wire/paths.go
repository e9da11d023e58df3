package wire

import "regexp"

// absolutePath matches an absolute path of a file system in running text: below the
// usual top folders only, so that routes such as /v1/users stay legible.
var absolutePath = regexp.MustCompile(`(^|[\s"'(<=:,\[\x60])(?:file://)?(?:/(?:home|Users|root|var|tmp|opt|usr|etc|srv|mnt|data|workspace|work|app|private|Volumes|nix|proc|run)(?:/[^\s/:'"()<>,;]+)*/|[A-Za-z]:\\(?:[^\s\\:'"()<>,;]+\\)*)([^\s/\\:'"()<>,;]*)`)

// HidePaths shortens the absolute paths in a text meant for clients to the name of
// the file, so that errors tell nothing of the server's folders (Q33).
func HidePaths(text string) string { return absolutePath.ReplaceAllString(text, "$1$2") }
