package wire

import "regexp"

var (
	plainRunID = regexp.MustCompile(`^[a-z0-9_-][a-z0-9_.-]{0,63}$`)
	childRunID = regexp.MustCompile(`^[a-z0-9_-][a-z0-9_.-]*(?::child:[A-Za-z0-9_.@,:=-]+:[0-9]+)+$`)
	nodeID     = regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`)

	errRunID  = Error{Code: CodeInvalidRunID, Message: "runId must match /^[a-z0-9_-][a-z0-9_.-]{0,63}$/."}
	errNodeID = Error{Code: CodeInvalidNodeID, Message: "nodeId must match /^[a-zA-Z0-9:_-]{1,128}$/."}
)

// CheckRunID holds id against the strict shape of run ids: a short slug, or one
// with engine-made child suffixes, of at most MaxRunIDUnits.
func CheckRunID(id string) *Error {
	if len(id) <= MaxRunIDUnits && (plainRunID.MatchString(id) || childRunID.MatchString(id)) {
		return nil
	}
	return copyOf(&errRunID)
}

// CheckNodeID holds id against the shape of node ids.
func CheckNodeID(id string) *Error {
	if nodeID.MatchString(id) {
		return nil
	}
	return copyOf(&errNodeID)
}
