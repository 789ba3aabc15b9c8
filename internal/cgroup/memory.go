package cgroup

import (
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// unlimited is what version 1 says for no limit, less what it may have been rounded down by to a page.
const unlimited = math.MaxInt64 - 1<<20

// MemoryLimit is the least memory limit, in bytes, of the control groups the process is in and their ancestors; ok is false
// where there is none. root is the file system's root: os.DirFS("/").
func MemoryLimit(root fs.FS) (limit int64, ok bool) {
	limit = unlimited
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		// hierarchy-ID:controller-list:path; version 2 has ID 0 and no list (cgroups(7))
		id, rest, _ := strings.Cut(line, ":")
		controllers, group, found := strings.Cut(rest, ":")
		switch {
		case !found:
		case id == "0" && controllers == "":
			limit = min(limit, least(root, "sys/fs/cgroup", group, "memory.max"))
		case hasController(controllers, "memory"):
			limit = min(limit, least(root, "sys/fs/cgroup/memory", group, "memory.limit_in_bytes"))
		}
	}
	return limit, limit < unlimited
}

// hasController looks for a name in a comma-separated list.
func hasController(list, name string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if one == name {
			return true
		}
	}
	return false
}

// least is the least limit on the way from a group up to its mount. In a container the path may be one that only the host can
// see; the mount's own file then holds the container's limit.
func least(root fs.FS, mount, group, file string) int64 {
	limit := int64(unlimited)
	for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
		if n, ok := number(root, path.Join(mount, dir, file)); ok {
			limit = min(limit, n)
		}
		if dir == "/" {
			return limit
		}
	}
}

// number reads a file with one number in it; "max" is none.
func number(root fs.FS, name string) (int64, bool) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil && n > 0
}
