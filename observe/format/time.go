package format

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weftproxy/weft/observe"
)

// A timeStep appends one piece of a point in time.
type timeStep struct {
	text  string // literal
	write func(dst []byte, t time.Time, digits int) []byte
	width int
}

// instant picks the point in time an operator prints; the zero time is unknown.
type instant func(e *observe.Entry) time.Time

func startTime(e *observe.Entry) time.Time {
	if e.Record == nil {
		return time.Time{}
	}
	return e.Record.Began
}

func emitTime(*observe.Entry) time.Time { return time.Now() }

// clock defines an operator that prints a point in time, in milliseconds of ISO 8601 unless a format is given.
func clock(at instant, zone *time.Location) definition {
	return definition{mayArgs, func(c command, _ Options) (*operator, error) {
		layout, err := compileTime(c.args)
		if err != nil {
			return nil, err
		}
		iso := "2006-01-02T15:04:05.000Z"
		if zone != time.UTC {
			iso = "2006-01-02T15:04:05.000-0700"
		}
		run := func(o *operator, dst []byte, e *observe.Entry) ([]byte, bool) {
			t := at(e)
			if t.IsZero() {
				return dst, false
			}
			t = t.In(zone)
			if len(o.layout) == 0 {
				return t.AppendFormat(dst, iso), true
			}
			for i := range o.layout {
				if s := &o.layout[i]; s.write != nil {
					dst = s.write(dst, t, s.width)
				} else {
					dst = append(dst, s.text...)
				}
			}
			return dst, true
		}
		return &operator{run: run, layout: layout}, nil
	}}
}

// compileTime compiles a strftime format with Envoy's additions: %s, %f and %1f to %9f, and Abseil's %E ones.
func compileTime(s string) ([]timeStep, error) {
	var steps []timeStep
	for s != "" {
		at := strings.IndexByte(s, '%')
		if at != 0 {
			if at < 0 {
				at = len(s)
			}
			steps = append(steps, timeStep{text: s[:at]})
			s = s[at:]
			continue
		}
		step, n, err := conversion(s)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
		s = s[n:]
	}
	return steps, nil
}

// conversion reads the conversion specifier at the beginning of s.
func conversion(s string) (timeStep, int, error) {
	i, modified, width := 1, false, -1
	if i < len(s) && (s[i] == 'E' || s[i] == 'O') {
		modified = s[i] == 'E'
		i++
	}
	switch {
	case i < len(s) && '1' <= s[i] && s[i] <= '9':
		width = int(s[i] - '0')
		i++
	case i < len(s) && s[i] == '*':
		width = 0
		i++
	}
	if i == len(s) {
		return timeStep{}, 0, fmt.Errorf("the time format ends within %q", s)
	}
	spec, c := s[:i+1], s[i]
	switch {
	case c == 'n' || c == '\n':
		return timeStep{}, 0, fmt.Errorf("the time format contains a line break")
	case c == 'f':
		return timeStep{write: writeFraction, width: max(width, 0)}, i + 1, nil
	case width >= 0 && modified && c == 'S':
		return timeStep{write: writeSeconds, width: width}, i + 1, nil
	case width >= 0 && !(modified && width == 4 && c == 'Y') && !(modified && width == 0 && c == 'z'):
		return timeStep{}, 0, fmt.Errorf("the time format has an unknown %q", spec)
	case modified && c == 'z':
		return layoutStep("-07:00"), i + 1, nil
	case modified && c == 'T':
		return timeStep{text: "T"}, i + 1, nil
	}
	if layout, ok := timeLayouts[c]; ok {
		return layoutStep(layout), i + 1, nil
	}
	if write, ok := timeWriters[c]; ok {
		return timeStep{write: write}, i + 1, nil
	}
	if text, ok := timeTexts[c]; ok {
		return timeStep{text: text}, i + 1, nil
	}
	return timeStep{}, 0, fmt.Errorf("the time format has an unknown %q", spec)
}

func layoutStep(layout string) timeStep {
	return timeStep{write: func(dst []byte, t time.Time, _ int) []byte { return t.AppendFormat(dst, layout) }}
}

// timeLayouts maps strftime's letters to Go's layouts. Immutable.
var timeLayouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January", 'c': "Mon Jan _2 15:04:05 2006", 'd': "02", 'D': "01/02/06",
	'e': "_2", 'F': "2006-01-02", 'H': "15", 'I': "03", 'j': "002", 'm': "01", 'M': "04", 'p': "PM", 'P': "pm", 'r': "03:04:05 PM",
	'R': "15:04", 'S': "05", 'T': "15:04:05", 'x': "01/02/06", 'X': "15:04:05", 'y': "06", 'Y': "2006", 'z': "-0700", 'Z': "MST",
}

// timeTexts are conversions that always print the same. Immutable.
var timeTexts = map[byte]string{'t': "\t", '%': "%"}

// timeWriters are the conversions that Go's layouts lack. Immutable.
var timeWriters = map[byte]func([]byte, time.Time, int) []byte{
	's': func(dst []byte, t time.Time, _ int) []byte { return strconv.AppendInt(dst, t.Unix(), 10) },
	'C': func(dst []byte, t time.Time, _ int) []byte { return padded(dst, t.Year()/100, 2, '0') },
	'g': func(dst []byte, t time.Time, _ int) []byte { y, _ := t.ISOWeek(); return padded(dst, y%100, 2, '0') },
	'G': func(dst []byte, t time.Time, _ int) []byte {
		y, _ := t.ISOWeek()
		return strconv.AppendInt(dst, int64(y), 10)
	},
	'k': func(dst []byte, t time.Time, _ int) []byte { return padded(dst, t.Hour(), 2, ' ') },
	'l': func(dst []byte, t time.Time, _ int) []byte { return padded(dst, (t.Hour()+11)%12+1, 2, ' ') },
	'u': func(dst []byte, t time.Time, _ int) []byte { return padded(dst, (int(t.Weekday())+6)%7+1, 1, '0') },
	'w': func(dst []byte, t time.Time, _ int) []byte { return padded(dst, int(t.Weekday()), 1, '0') },
	'U': func(dst []byte, t time.Time, _ int) []byte {
		return padded(dst, (t.YearDay()+6-int(t.Weekday()))/7, 2, '0')
	},
	'V': func(dst []byte, t time.Time, _ int) []byte { _, w := t.ISOWeek(); return padded(dst, w, 2, '0') },
	'W': func(dst []byte, t time.Time, _ int) []byte {
		return padded(dst, (t.YearDay()+6-(int(t.Weekday())+6)%7)/7, 2, '0')
	},
}

// writeFraction writes the given number of digits of the fraction of the second, all nine for 0.
func writeFraction(dst []byte, t time.Time, digits int) []byte {
	if digits == 0 {
		digits = 9
	}
	n := t.Nanosecond()
	for range 9 - digits {
		n /= 10
	}
	return padded(dst, n, digits, '0')
}

// writeSeconds writes the seconds with the given number of digits of their fraction, as many as needed for 0.
func writeSeconds(dst []byte, t time.Time, digits int) []byte {
	dst = padded(dst, t.Second(), 2, '0')
	if digits > 0 {
		return writeFraction(append(dst, '.'), t, digits)
	}
	if t.Nanosecond() == 0 {
		return dst
	}
	dst = writeFraction(append(dst, '.'), t, 9)
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// padded appends n with at least width digits.
func padded(dst []byte, n, width int, pad byte) []byte {
	p := 1
	for range width - 1 {
		p *= 10
	}
	for ; p > 1 && n < p; p /= 10 {
		dst = append(dst, pad)
	}
	return strconv.AppendInt(dst, int64(n), 10)
}
