// Package worktree records what programs do to git work trees. A capture is a git tree
// object of everything that the work tree holds, untracked files included and ignored
// ones not; two of them make a diff. Captures are made with an index of the gateway's
// own, so that the user's index, HEAD, branches and files stay as they are; all that
// appears in the repository are objects, and references below refs/smithers that keep
// them from being collected.
//
// The program is the operator's git, found on PATH. Nothing here fails a task: what
// cannot be captured is an error that names the reason, for whoever asks for the diff.
package worktree
