package wire

// CheckDepth holds valid JSON against MaxJSONDepth alone, for bodies whose texts and
// arrays are bounded by the body as a whole.
func CheckDepth(data []byte) *Error {
	depth, inString := 1, false // of a value at this place
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
			fallthrough
		case inString, c > '"' && c != ',' && c != ':' && c != '[' && c != ']' && c != '{' && c != '}':
			if depth > MaxJSONDepth {
				return copyOf(&errDepth)
			}
		case c == '{' || c == '[':
			if depth > MaxJSONDepth {
				return copyOf(&errDepth)
			}
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
