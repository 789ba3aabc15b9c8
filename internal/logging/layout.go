package logging

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// DefaultFormat is the pattern of Envoy's log lines.
const DefaultFormat = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v"

// A line is what one log line says.
type line struct {
	slog.Record
	site   *site
	fields []field
}

// A layout turns lines into text. Immutable.
type layout []appender

// An appender appends one part of a line.
type appender func(b []byte, l *line) []byte

func (f layout) appendLine(b []byte, l *line) []byte {
	for _, part := range f {
		b = part(b, l)
	}
	return b
}

// parseLayout compiles a format: a pattern in the language of Envoy's logger, or "json".
//
// Understood are %v and %_ (the message; %_ with line breaks escaped), %j (the message as in a JSON string), %n (component), %l %L (level), %t %P
// (process), %g %s %# %@ %! (where), %Y %C %m %d %b %B %a %A %H %I %M %S %p %e %f %F %E %z %D %x %T %X %R %r %c (time), %+ (the default format), %^ %$
// (colours, of which there are none) and %%. Others are an error that names them.
func parseLayout(format string) (layout, error) {
	switch format {
	case "":
		format = DefaultFormat
	case "json":
		return layout{appendJSON}, nil
	}
	var out layout
	for i := 0; i < len(format); {
		if format[i] != '%' {
			end := i + 1
			for end < len(format) && format[end] != '%' {
				end++
			}
			out = append(out, literal(format[i:end]))
			i = end
			continue
		}
		if i+1 == len(format) {
			return nil, fmt.Errorf("log format %q ends with a lone %%", format)
		}
		if format[i+1] == '+' {
			inner, err := parseLayout("")
			if err != nil {
				return nil, err
			}
			out = append(out, inner...)
		} else if part := flag(format[i+1]); part != nil {
			out = append(out, part)
		} else {
			return nil, fmt.Errorf("log format %q: %%%c at position %d is not supported", format, format[i+1], i)
		}
		i += 2
	}
	return out, nil
}

func literal(s string) appender { return func(b []byte, _ *line) []byte { return append(b, s...) } }

func clock(layout string) appender {
	return func(b []byte, l *line) []byte { return l.Time.AppendFormat(b, layout) }
}

// fraction appends the part of a second in the given unit.
func fraction(unit time.Duration, digits int) appender {
	return func(b []byte, l *line) []byte {
		s := strconv.Itoa(l.Time.Nanosecond() / int(unit))
		return append(append(b, "000000000"[:digits-len(s)]...), s...)
	}
}

// flag is what one letter of a pattern stands for, nil for none.
func flag(c byte) appender {
	if f := timeFlag(c); f != nil {
		return f
	}
	switch c {
	case 'v':
		return appendMessage
	case '_':
		return func(b []byte, l *line) []byte { return escapeFrom(appendMessage(b, l), len(b)) }
	case 'j':
		return func(b []byte, l *line) []byte {
			text := appendMessage(nil, l)
			return appendJSONText(b, string(text))
		}
	case 'n':
		return func(b []byte, l *line) []byte { return append(b, l.site.component.name...) }
	case 'l':
		return func(b []byte, l *line) []byte { return append(b, LevelName(l.Level)...) }
	case 'L':
		return func(b []byte, l *line) []byte { return append(b, strings.ToUpper(LevelName(l.Level)[:1])...) }
	case 't', 'P':
		return literal(strconv.Itoa(os.Getpid()))
	case 'g':
		return func(b []byte, l *line) []byte { return append(b, l.site.file...) }
	case 's':
		return func(b []byte, l *line) []byte {
			return append(b, l.site.file[strings.LastIndexByte(l.site.file, '/')+1:]...)
		}
	case '#':
		return func(b []byte, l *line) []byte { return strconv.AppendInt(b, int64(l.site.line), 10) }
	case '@':
		return func(b []byte, l *line) []byte { return appendPlace(b, l) }
	case '!':
		return func(b []byte, l *line) []byte {
			return append(b, l.site.function[strings.LastIndexByte(l.site.function, '.')+1:]...)
		}
	case '^', '$':
		return literal("")
	case '%':
		return literal("%")
	}
	return nil
}

// timeFlag is the part of flag about time.
func timeFlag(c byte) appender {
	layouts := map[byte]string{
		'Y': "2006", 'C': "06", 'm': "01", 'd': "02", 'b': "Jan", 'h': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday", 'H': "15", 'I': "03", 'M': "04",
		'S': "05", 'p': "PM", 'z': "-07:00", 'D': "01/02/06", 'x': "01/02/06", 'T': "15:04:05", 'X': "15:04:05", 'R': "15:04", 'r': "03:04:05 PM",
		'c': "Mon Jan _2 15:04:05 2006",
	}
	if to, ok := layouts[c]; ok {
		return clock(to)
	}
	switch c {
	case 'e':
		return fraction(time.Millisecond, 3)
	case 'f':
		return fraction(time.Microsecond, 6)
	case 'F':
		return fraction(time.Nanosecond, 9)
	case 'E':
		return func(b []byte, l *line) []byte { return strconv.AppendInt(b, l.Time.Unix(), 10) }
	}
	return nil
}

func appendPlace(b []byte, l *line) []byte {
	return strconv.AppendInt(append(append(b, l.site.file...), ':'), int64(l.site.line), 10)
}

// appendMessage appends the message and its attributes as key=value.
func appendMessage(b []byte, l *line) []byte {
	b = append(b, l.Message...)
	for _, f := range l.fields {
		b = append(append(append(b, ' '), f.name...), '=')
		b = appendValue(b, f.value.String())
	}
	return b
}

// appendValue appends a value, quoted if it could be mistaken for more than one or would break the line.
func appendValue(b []byte, s string) []byte {
	plain := s != ""
	for _, r := range s {
		if r <= ' ' || r == '"' || r == '=' || r == 0x7f || r == utf8.RuneError || r == 0x85 || r == 0x2028 || r == 0x2029 {
			plain = false
			break
		}
	}
	if plain {
		return append(b, s...)
	}
	return strconv.AppendQuote(b, s)
}

// escapeFrom replaces the line breaks of b[from:] by \n.
func escapeFrom(b []byte, from int) []byte {
	text := string(b[from:])
	if !strings.Contains(text, "\n") {
		return b
	}
	return append(b[:from], strings.ReplaceAll(text, "\n", `\n`)...)
}
