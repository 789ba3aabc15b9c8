//go:build unix

package fswatch

import (
	"io/fs"
	"syscall"
)

// Inode tells a file that was renamed over another from it.
func Inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Ino) //nolint:unconvert // narrower on some systems
	}
	return 0
}
