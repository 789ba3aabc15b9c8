package fswatch

import (
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many symbolic links a path may lead through.
const maxLinks = 40

// Trace follows a path through its symbolic links. points are the places where a change makes it lead to something else: each link, and the
// file at its end, or the first thing on the way that is not there. end is the file, "" if it is not there. All have real directories.
func Trace(name string) (points []string, end string) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, ""
	}
	const sep = string(filepath.Separator)
	at := filepath.VolumeName(abs) + sep
	rest := strings.Split(abs[len(at):], sep)
	for links := 0; len(rest) > 0; {
		step := rest[0]
		rest = rest[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, step)
		info, err := os.Lstat(next)
		if err != nil {
			return append(points, next), ""
		}
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		points = append(points, next)
		to, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return points, ""
		}
		if filepath.IsAbs(to) {
			at = filepath.VolumeName(to) + sep
			to = to[len(at):]
		}
		rest = append(strings.Split(to, sep), rest...)
	}
	return append(points, at), at
}
