package host

import (
	"encoding/json"
	"regexp"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// entry is what one or more lines of output say.
type logEntry struct {
	level   zapcore.Level
	message string
	fields  []zap.Field
	values  map[string]string // texts among the fields of a logger's line
}

var (
	// sourceLine is a line of code as Bun shows it above an error: "12 | throw …".
	sourceLine = regexp.MustCompile(`^\s*\d+ \| `)
	// errorLine is the head of an error: "TypeError: …", "error: …", "Uncaught …".
	errorLine = regexp.MustCompile(`^(Uncaught )?([A-Za-z_$][\w$]*Error|[Ee]rror|Exception)\b.*:`)
	stackLine = regexp.MustCompile(`^\s+at `)
	// tagged is a level at the beginning of a line: "[warn] …", "WARN: …", "info …".
	tagged = regexp.MustCompile(`^\[?(?i:(trace|debug|info|notice|warn|warning|error|fatal|critical))(\]:?|:) `)
	// stamped is a line of the logger of Effect: "[10:20:28.915] INFO (#75) span: …".
	stamped = regexp.MustCompile(`^\[[\d:.]+\] (TRACE|DEBUG|INFO|WARN|ERROR|FATAL) \(#\d+\)(?: [\w:.=-]+ms:|:)? `)
	// pair is one key=value of a logfmt line.
	pair = regexp.MustCompile(`(?:^|\s)([A-Za-z_][\w.:-]*)=("(?:[^"\\]|\\.)*"|\S*)`)
)

// continues reports that line belongs to the entry: indented below it, or part of an
// error with its code and stack.
func continues(entry []string, line string) bool {
	head, previous := entry[0], entry[len(entry)-1]
	inError := sourceLine.MatchString(head) || errorLine.MatchString(head)
	switch {
	case stackLine.MatchString(line):
		return true
	case sourceLine.MatchString(head) && !hasStack(entry):
		return true // code, a caret, the message, its properties, then the stack
	case inError && line == "":
		return previous != ""
	case strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t"):
		return true
	case line == "}" || line == "]" || line == "})":
		return strings.HasSuffix(strings.TrimSpace(head), "{") || inError || strings.HasSuffix(strings.TrimSpace(head), "[")
	}
	return false
}

func hasStack(entry []string) bool {
	for _, line := range entry {
		if stackLine.MatchString(line) {
			return true
		}
	}
	return false
}

// parseEntry finds level, message and fields of an entry.
func parseEntry(lines []string, isError bool) logEntry {
	e := logEntry{level: zapcore.InfoLevel}
	if isError {
		e.level = zapcore.WarnLevel
	}
	if len(lines) == 1 {
		if parsed, ok := parseJSON(lines[0], e.level); ok {
			return parsed
		}
		if parsed, ok := parseLogfmt(lines[0], e.level); ok {
			return parsed
		}
	}
	for _, line := range lines {
		if errorLine.MatchString(line) {
			e.level = zapcore.ErrorLevel
			e.message = line
			break
		}
	}
	if e.message == "" {
		e.message = lines[0]
		m := stamped.FindStringSubmatch(lines[0])
		if m == nil {
			m = tagged.FindStringSubmatch(lines[0])
		}
		if m != nil {
			e.level = levelOf(m[1], e.level)
			e.message = lines[0][len(m[0]):]
		}
	}
	if len(lines) > 1 {
		e.fields = append(e.fields, zap.String("detail", strings.Join(lines, "\n")))
	}
	return e
}

// parseJSON reads a line that is one JSON object with a message, as most loggers can
// write.
func parseJSON(line string, level zapcore.Level) (logEntry, bool) {
	if !strings.HasPrefix(line, "{") {
		return logEntry{}, false
	}
	var object map[string]any
	if json.Unmarshal([]byte(line), &object) != nil {
		return logEntry{}, false
	}
	e := logEntry{level: level}
	for _, key := range []string{"msg", "message"} {
		if text, ok := object[key].(string); ok && e.message == "" {
			e.message = text
			delete(object, key)
		}
	}
	if e.message == "" {
		return logEntry{}, false
	}
	for _, key := range []string{"level", "severity", "logLevel", "lvl"} {
		switch v := object[key].(type) {
		case string:
			e.level = levelOf(v, level)
		case float64:
			e.level = levelOfNumber(v)
		default:
			continue
		}
		delete(object, key)
		break
	}
	if len(object) > 0 {
		e.fields = append(e.fields, zap.Any("fields", object))
		e.values = map[string]string{}
		for key, value := range object {
			if text, ok := value.(string); ok {
				e.values[key] = text
			}
		}
	}
	return e, true
}

// parseLogfmt reads a line of key=value pairs that has a level and a message, as the
// logger of Smithers writes them.
func parseLogfmt(line string, level zapcore.Level) (logEntry, bool) {
	if !strings.Contains(line, "level=") || !strings.Contains(line, "message=") {
		return logEntry{}, false
	}
	e := logEntry{level: level}
	fields := map[string]string{}
	for _, m := range pair.FindAllStringSubmatch(line, -1) {
		key, value := m[1], m[2]
		if strings.HasPrefix(value, `"`) {
			var text string
			if json.Unmarshal([]byte(value), &text) == nil {
				value = text
			}
		}
		switch key {
		case "level":
			e.level = levelOf(value, level)
		case "message":
			e.message = value
		case "timestamp", "fiber":
		default:
			fields[key] = value
		}
	}
	if e.message == "" {
		return logEntry{}, false
	}
	if len(fields) > 0 {
		e.fields = append(e.fields, zap.Any("fields", fields))
		e.values = fields
	}
	return e, true
}

func levelOf(word string, otherwise zapcore.Level) zapcore.Level {
	switch strings.ToLower(word) {
	case "trace", "debug", "verbose", "silly":
		return zapcore.DebugLevel
	case "info", "notice", "log":
		return zapcore.InfoLevel
	case "warn", "warning":
		return zapcore.WarnLevel
	case "error", "fatal", "critical", "alert", "emergency", "panic":
		return zapcore.ErrorLevel
	}
	return otherwise
}

// levelOfNumber reads the levels of pino and bunyan.
func levelOfNumber(n float64) zapcore.Level {
	switch {
	case n < 30:
		return zapcore.DebugLevel
	case n < 40:
		return zapcore.InfoLevel
	case n < 50:
		return zapcore.WarnLevel
	}
	return zapcore.ErrorLevel
}
