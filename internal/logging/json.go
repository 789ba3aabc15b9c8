package logging

import (
	"encoding/json"
	"log/slog"
	"strconv"
	"time"
)

// appendJSON appends a line as a JSON object: time, level, component, source, message, then the attributes.
func appendJSON(b []byte, l *line) []byte {
	b = append(b, `{"time":"`...)
	b = l.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	b = append(append(b, `","level":"`...), LevelName(l.Level)...)
	b = append(append(b, `","component":"`...), l.site.component.name...)
	b = appendPlace(append(b, `","source":"`...), l)
	b = append(append(b, `","message":"`...), appendJSONText(nil, l.Message)...)
	b = append(b, '"')
	for _, f := range l.fields {
		b = append(b, `,"`...)
		b = append(appendJSONText(b, f.name), `":`...)
		b = appendJSONValue(b, f.value)
	}
	return append(b, '}')
}

// appendJSONText appends s as the inside of a JSON string.
func appendJSONText(b []byte, s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil { // cannot be: bytes that are not UTF-8 are replaced
		return b
	}
	return append(b, quoted[1:len(quoted)-1]...)
}

func appendJSONValue(b []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindTime:
		return append(v.Time().AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
	}
	return append(appendJSONText(append(b, '"'), v.String()), '"')
}
